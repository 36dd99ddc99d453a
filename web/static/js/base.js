// What the other scripts share, as `Backstop`. Every page works without any of them; each script is one concern.
(() => {
  "use strict";
  const body = document.body;
  // The server's clock: countdowns must not believe a phone whose own is wrong. Each beat of the stream sets it anew.
  let ahead = 0;
  const stored = (act) => { try { return act(); } catch { return null; /* storage is switched off */ } };

  window.Backstop = {
    root: document.documentElement,
    body,
    each: (selector, act, within = document) => within.querySelectorAll(selector).forEach(act),
    remember: (name, value, where = "localStorage") => stored(() => window[where].setItem(name, value)),
    recall: (name, where = "localStorage") => stored(() => window[where].getItem(name)),
    forget: (name, where = "localStorage") => stored(() => window[where].removeItem(name)),
    now: () => Date.now() + ahead,
    setClock(iso) {
      const at = Date.parse(iso);
      if (!Number.isNaN(at)) ahead = at - Date.now();
    },
    // Tells the parts of the page to fetch themselves (components/parts.html: live).
    bump: () => body.dispatchEvent(new Event("bump")),
    // Tells a screen reader, once.
    say(text) {
      const place = document.querySelector("[data-say]");
      if (place) place.textContent = text;
    },
    signIn: () => `/login?next=${encodeURIComponent(location.pathname + location.search)}`,
    isVisible: (element) => Boolean(element && element.getClientRects().length),
    async page(address, options = {}) {
      const answer = await fetch(address, { headers: { Accept: "text/html" }, credentials: "same-origin", ...options });
      return { answer, fresh: new DOMParser().parseFromString(await answer.text(), "text/html") };
    },
  };
})();
