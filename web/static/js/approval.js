// A decision that is never lost and never doubled: the page asks whether the request still stands before its button
// works, and the button tells what became of it: sending, recorded, applying, confirmed.
(() => {
  "use strict";
  const { body, page } = Backstop;
  const frame = () => document.querySelector(".ask-frame");
  const FRESH = 10000;
  let confirmedAt = Date.now();

  const buttons = () => document.querySelectorAll("form[data-decision] button[type=submit]");
  const enable = (on, text) => buttons().forEach((button) => {
    if (on) button.removeAttribute("aria-disabled"); else button.setAttribute("aria-disabled", "true");
    Backstop.saying(button, text);
  });
  const typing = () => document.activeElement?.closest("form[data-decision]") || [...document.querySelectorAll("form[data-decision] :is(input:not([type=hidden]), textarea)")].some((field) => field.value !== field.defaultValue);
  const facts = (one) => `${one.dataset.state} ${one.querySelector("[name=digest]")?.value || ""}`;

  // The whole frame is put in anew, never a part of it: what is decided on is exactly what is read.
  function put(fresh, moved) {
    const now = fresh.querySelector(".ask-frame");
    if (!now) return false;
    frame().replaceWith(now);
    const bar = fresh.querySelector("nav.bottom");
    if (bar) document.querySelector("nav.bottom")?.replaceWith(bar);
    window.htmx?.process(now);
    Backstop.showTimes();
    if (moved) {
      const told = now.querySelector("[aria-live]") || now;
      told.tabIndex = -1;
      told.scrollIntoView({ block: "center" });
      told.focus({ preventScroll: true });
    }
    return true;
  }
  // Whether the request still stands as it is shown. If not, what stands now is shown instead.
  async function stands({ moved = false, asking = false } = {}) {
    const { answer, fresh } = await page(location.href);
    const now = fresh.querySelector(".ask-frame");
    if (!answer.ok || !now) { location.reload(); return false; }
    confirmedAt = Date.now();
    const same = facts(now) === facts(frame());
    // Open and unchanged, it stays as it is under the fingers of who types; decided, it goes on telling.
    if (!same || (!asking && (frame().dataset.state !== "open" || !typing()))) put(fresh, moved || !same);
    if (!same) Backstop.say("It changed; read it again");
    return same;
  }

  body.addEventListener("bump", () => { stands().catch(() => {}); });
  // Who comes back to an old page finds a button that first asks.
  const back = () => {
    if (document.hidden || !buttons().length || Date.now() - confirmedAt < FRESH) return;
    enable(false, "Asking the server…");
    stands({ asking: true }).then(() => enable(true)).catch(() => enable(true, "Not sure it still stands. Tap to ask"));
  };
  document.addEventListener("visibilitychange", back);
  window.addEventListener("pageshow", (event) => { if (event.persisted) back(); });
  window.addEventListener("online", back);

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.hasAttribute("data-decision") || event.defaultPrevented) return;
    event.preventDefault();
    decide(form, event.submitter).catch(() => Backstop.saying(event.submitter, "Not sent. Tap again"));
  });
  async function decide(form, button) {
    if (form.dataset.sent) return;
    form.dataset.sent = "1";
    try {
      if (Date.now() - confirmedAt > FRESH) {
        Backstop.saying(button, "Asking the server…");
        if (!await stands({ asking: true })) return;
      }
      await send(form, button);
    } finally {
      delete form.dataset.sent;
    }
  }
  async function send(form, button) {
    const said = new FormData(form, button);
    Backstop.saying(button, button?.dataset.sending || "Sending…");
    let got;
    try {
      got = await page(form.action, { method: "POST", body: said });
    } catch {
      // It may have arrived although its answer did not: only the server knows.
      Backstop.saying(button, "No answer. Asking the server…");
      if (await stands({ moved: true, asking: true })) Backstop.saying(button, "Not sent. Tap again");
      return;
    }
    const { answer, fresh } = got;
    if (new URL(answer.url).pathname !== location.pathname) { location.assign(answer.url); return; }
    // A second tap, here or on another device: the first result is what there is to show.
    if (answer.status === 409) { await stands({ moved: true }); return; }
    if (!put(fresh, true)) { location.reload(); return; }
    confirmedAt = Date.now();
    Backstop.say(answer.ok ? "Recorded" : "Not recorded; look at the form");
  }
})();
