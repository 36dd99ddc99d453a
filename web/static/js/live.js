// Live without loss: a stream tells that something changed, and the parts of the page fetch themselves.
//
// Whatever cuts the stream (a lift, a sleeping phone, a restarted server), the page says since when it is stale, asks
// until the server answers, and then fetches everything anew. `/version/…` beside each `/live/…` answers the same by
// asking, so it also serves where streams do not get through at all.
(() => {
  "use strict";
  const { root, body, bump } = Backstop;
  const address = body.dataset.live;
  const asking = address?.replace(/^\/live\//, "/version/");
  const place = document.querySelector("[data-notice]");
  // The server's beat comes each 15 s; a connection that lost two of them is dead, though nobody said so.
  const SILENCE = 40000;
  const SLEPT = 10000;
  const HIDDEN = 60000;
  const POLL = 10000;

  let source = null;
  let seen = body.dataset.version || null;
  let heardAt = Date.now();
  let retry = 0;
  let streamsFailed = 0;
  let hiddenSince = document.hidden ? Date.now() : 0;

  // --- what the page says about itself --------------------------------------------------------------------------
  function notice(kind, text, link) {
    if (!place || place.dataset.notice === kind) return;
    place.dataset.notice = kind;
    place.replaceChildren(document.createTextNode(text));
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link.href;
      anchor.textContent = link.text;
      place.append(" ", anchor);
    }
    place.hidden = !text;
    setHead();
  }
  // Under the head where there is one, over what is read below: nothing moves when it comes or goes.
  function setHead() {
    const head = document.querySelector("main .head");
    if (head) root.style.setProperty("--under-head", `${Math.max(0, head.getBoundingClientRect().bottom)}px`);
  }
  window.addEventListener("scroll", () => { if (place && !place.hidden) setHead(); }, { passive: true });

  function fresh() {
    heardAt = Date.now();
    delete root.dataset.stale;
    if (place?.dataset.notice !== "release") notice("", "");
  }
  function stale() {
    if (root.dataset.stale) return;
    root.dataset.stale = "1";
    notice("stale", `as of ${new Date(heardAt).toISOString().slice(11, 19)} UTC · reconnecting`);
  }
  function ended(kind, text, link) {
    hangUp();
    root.dataset.stale = "1";
    notice(kind, text, link);
  }
  function release(name) {
    if (name && body.dataset.release && name !== body.dataset.release) {
      notice("release", "Backstop was updated; this page is of before.", { href: location.href, text: "Load it anew" });
    }
  }

  // --- listening ------------------------------------------------------------------------------------------------
  function hangUp() {
    clearTimeout(retry);
    source?.close();
    source = null;
  }
  function told(version) {
    // A page that does not know its own version fetches itself once: something may have changed before it listened.
    const changed = String(version) !== String(seen);
    seen = String(version);
    fresh();
    if (changed) bump();
  }
  function listen() {
    hangUp();
    if (!window.EventSource || streamsFailed > 3) { retry = setTimeout(ask, POLL); return; }
    const mine = new EventSource(seen === null ? address : `${address}?since=${seen}`);
    source = mine;
    let opened = false;
    mine.addEventListener("bump", (event) => told(JSON.parse(event.data).version));
    mine.addEventListener("beat", (event) => {
      const beat = JSON.parse(event.data);
      opened = true;
      streamsFailed = 0;
      Backstop.setClock(beat.now);
      fresh();
      release(beat.release);
      body.dispatchEvent(new Event("pulse"));
    });
    mine.addEventListener("error", () => {
      // The browser would try again by itself, but not tell what the server says; asking does.
      if (source !== mine) return;
      if (!opened) streamsFailed += 1;
      hangUp();
      ask();
    });
  }
  async function ask(everything = false) {
    hangUp();
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), 8000);
    try {
      const answer = await fetch(asking, { headers: { Accept: "application/json" }, credentials: "same-origin", cache: "no-store", signal: limit.signal });
      if (answer.status === 401) { ended("signed-out", "You are signed out; what you see is old.", { href: Backstop.signIn(), text: "Sign in and come back" }); return; }
      if (answer.status === 404 || answer.status === 403) { ended("gone", "This is no longer yours to see; what you see is old."); return; }
      if (!answer.ok) throw new Error(String(answer.status));
      const now = await answer.json();
      const wasStale = Boolean(root.dataset.stale);
      const known = seen;
      seen = String(now.version);
      fresh();
      release(now.release);
      // Who signed in anew has another token; forms that were open before would be refused.
      Backstop.each("input[name=csrfmiddlewaretoken]", (field) => { field.value = now.csrf; });
      if (everything || wasStale || known === null || known !== seen) bump();
      body.dispatchEvent(new Event("pulse"));
      listen();
    } catch {
      stale();
      if (!document.hidden) retry = setTimeout(ask, navigator.onLine ? 1500 : 5000);
    } finally {
      clearTimeout(timer);
    }
  }

  // --- waking ---------------------------------------------------------------------------------------------------
  function wake() {
    Backstop.showTimes();
    if (!address) return;
    if (Date.now() - heardAt > SILENCE) stale();
    ask(true);
  }
  Backstop.wake = wake;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { hiddenSince = Date.now(); return; }
    const slept = hiddenSince ? Date.now() - hiddenSince : 0;
    hiddenSince = 0;
    if (slept > SLEPT || !source) wake();
  });
  document.addEventListener("resume", wake);
  window.addEventListener("pageshow", (event) => { if (event.persisted) wake(); });
  window.addEventListener("pagehide", hangUp);
  window.addEventListener("online", wake);
  window.addEventListener("offline", () => { if (address) { hangUp(); stale(); } });
  // A timer that comes much too late has slept; a stream that is silent too long is dead.
  let tick = Date.now();
  setInterval(() => {
    const slept = Date.now() - tick > 20000;
    tick = Date.now();
    if (!address) return;
    if (document.hidden) {
      // A browser has six connections to one server: pages that nobody looks at leave theirs to those that are read.
      if (source && hiddenSince && Date.now() - hiddenSince > HIDDEN) hangUp();
    } else if (slept || (source && Date.now() - heardAt > SILENCE)) wake();
  }, 5000);

  if (address && !document.hidden) listen();
})();
