// What pages do beyond forms and links; every page works without it.
(() => {
  "use strict";
  const root = document.documentElement;
  const body = document.body;
  const remember = (name, value) => { try { localStorage.setItem(name, value); } catch { /* storage is off */ } };
  const recall = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
  const forget = (name) => { try { localStorage.removeItem(name); } catch { /* storage is off */ } };
  const each = (selector, act, within = document) => within.querySelectorAll(selector).forEach(act);

  // --- theme and zone -------------------------------------------------------------------------------------------
  const themes = ["system", "light", "dark"];
  const showTheme = () => each("[data-theme-word]", (word) => { word.textContent = root.dataset.theme || "system"; });
  each("[data-theme-toggle]", (button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
      if (next === "system") { delete root.dataset.theme; forget("theme"); } else { root.dataset.theme = next; remember("theme", next); }
      showTheme();
    });
  });
  each("[data-zone-toggle]", (button) => {
    button.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.zone = root.dataset.zone === "local" ? "utc" : "local";
      remember("zone", root.dataset.zone);
      showTimes();
    });
  });

  // --- times ----------------------------------------------------------------------------------------------------
  const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const span = (seconds, parts) => {
    let left = Math.floor(Math.abs(seconds));
    const found = [];
    for (const [size, unit] of units) {
      const count = Math.floor(left / size);
      left -= count * size;
      if (count) found.push(`${count} ${unit}`);
    }
    return found.slice(0, parts).join(" ") || "0 s";
  };
  const ago = (at) => {
    const seconds = (at - Date.now()) / 1000;
    if (Math.abs(seconds) < 10) return "now";
    return seconds > 0 ? `in ${span(seconds, 1)}` : `${span(seconds, 1)} ago`;
  };
  const local = (at, form) => {
    const options = { hour: "2-digit", minute: "2-digit", hour12: false };
    if (form === "full" || Math.abs(Date.now() - at) > 72e6) Object.assign(options, { day: "2-digit", month: "short" });
    if (form === "full") options.year = "numeric";
    return new Intl.DateTimeFormat(undefined, options).format(at);
  };
  function showTimes() {
    each("time[data-form]", (time) => {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) return;
      const form = time.dataset.form;
      // The server's own words are kept, so that switching back to UTC shows them again.
      if (time.dataset.shown === undefined || time.dataset.shownFor !== time.dateTime) {
        time.dataset.shown = time.textContent;
        time.dataset.shownFor = time.dateTime;
      }
      const text = form === "ago" ? ago(at) : root.dataset.zone === "local" ? local(at, form) : time.dataset.shown;
      if (time.textContent !== text) time.textContent = text;
    });
    each("[data-zone-word]", (word) => { word.textContent = root.dataset.zone === "local" ? "Local time" : "UTC"; });
    each("[data-countdown]", (element) => {
      const left = (new Date(element.dataset.countdown) - Date.now()) / 1000;
      element.textContent = left > 0 ? `${span(left, 2)} left` : "The time is over; nothing was applied";
    });
  }

  // --- live -----------------------------------------------------------------------------------------------------
  const stale = document.querySelector("[data-stale]");
  let lastHeard = new Date();
  let source = null;
  let polling = null;
  const bump = () => body.dispatchEvent(new Event("bump"));
  const mark = (connected) => {
    if (!stale) return;
    stale.hidden = connected;
    if (connected) lastHeard = new Date();
    else stale.textContent = `as of ${lastHeard.toISOString().slice(11, 19)} UTC · reconnecting`;
  };
  const poll = (on) => {
    if (on && !polling) polling = setInterval(bump, 10000);
    if (!on && polling) { clearInterval(polling); polling = null; }
  };
  const listen = () => {
    if (!body.dataset.live || !window.EventSource) { poll(Boolean(body.dataset.live)); return; }
    let seen = null;
    source = new EventSource(body.dataset.live);
    const heard = (event) => {
      const first = seen === null;
      if (event.lastEventId && event.lastEventId === seen) return;
      seen = event.lastEventId || event.data;
      mark(true);
      poll(false);
      if (!first) bump();
    };
    source.addEventListener("message", heard);
    source.addEventListener("bump", heard);
    source.addEventListener("open", () => { if (stale && !stale.hidden) bump(); mark(true); poll(false); });
    source.addEventListener("error", () => {
      // The browser reconnects by itself unless the server said no; then the parts are polled.
      poll(true);
      if (source.readyState !== EventSource.CLOSED) mark(false);
    });
  };
  let hiddenSince = 0;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { hiddenSince = Date.now(); return; }
    showTimes();
    if (hiddenSince && Date.now() - hiddenSince > 10000) {
      bump();
      if (source && source.readyState === EventSource.CLOSED) listen();
    }
  });
  window.addEventListener("pagehide", () => { if (source) source.close(); });
  document.addEventListener("htmx:after:swap", showTimes);
  document.addEventListener("htmx:after:settle", () => { showTimes(); readyCopies(); });

  // An approval is a page for a decision, not a part that morphs: when its run moves on, it asks the server whether
  // the request still stands, and is loaded anew if not.
  const approval = document.querySelector(".ask-frame");
  async function stillStands() {
    if (!approval) return true;
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
    if (!answer.ok) return true;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(".ask-frame");
    const digest = (frame) => frame?.querySelector("[name=digest]")?.value || "";
    const stands = fresh && fresh.dataset.state === approval.dataset.state && digest(fresh) === digest(approval);
    if (!stands || (approval.dataset.state === "approved" && fresh.innerHTML.length !== approval.innerHTML.length)) location.reload();
    return Boolean(stands);
  }
  if (approval) body.addEventListener("bump", () => { stillStands().catch(() => {}); });

  // --- forms ----------------------------------------------------------------------------------------------------
  let loadedAt = Date.now();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const button = event.submitter;
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (!navigator.onLine) {
      event.preventDefault();
      if (button) button.textContent = "Not sent: no network. Tap again";
      return;
    }
    if (form.hasAttribute("data-decision") && Date.now() - loadedAt > 10000) {
      event.preventDefault();
      if (button) button.textContent = "Asking the server…";
      stillStands().then((stands) => {
        loadedAt = Date.now();
        if (stands) form.requestSubmit(button);
      }).catch(() => { if (button) button.textContent = "Not sent. Tap again"; });
      return;
    }
    if (form.hasAttribute("data-note")) { event.preventDefault(); sendNote(form, button); return; }
    if (form.method === "post") {
      form.dataset.sent = "1";
      if (button?.dataset.sending) button.textContent = button.dataset.sending;
      if (button) button.setAttribute("aria-disabled", "true");
    }
  });
  window.addEventListener("pageshow", () => each("form[data-sent]", (form) => { delete form.dataset.sent; }));
  async function sendNote(form, button) {
    const label = button ? button.textContent : "";
    const text = form.querySelector("textarea");
    if (!text.value.trim()) { text.focus(); return; }
    form.dataset.sent = "1";
    if (button) button.textContent = button.dataset.sending || label;
    try {
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { "HX-Request": "true" }, credentials: "same-origin" });
      if (answer.status === 204) {
        form.reset();
        bump();
        if (button) button.textContent = label;
      } else {
        // The page knows how to show the fault; what was typed goes with it.
        delete form.dataset.sent;
        form.removeAttribute("data-note");
        form.requestSubmit(button);
        return;
      }
    } catch {
      if (button) button.textContent = "Not sent. Tap again";
    }
    delete form.dataset.sent;
  }
  each("[data-autokeep]", (form) => {
    const text = form.querySelector("textarea");
    const state = form.querySelector("[data-autokeep-state]");
    const kept = recall(form.dataset.autokeep);
    const begun = text.value;
    if (kept !== null && kept !== text.value) {
      text.value = kept;
      state.textContent = "Your unsaved text of before is back.";
    }
    let timer = 0;
    text.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        remember(form.dataset.autokeep, text.value);
        state.textContent = `Kept on this device ${new Date().toISOString().slice(11, 19)} UTC, not saved yet`;
      }, 800);
    });
    form.addEventListener("submit", () => forget(form.dataset.autokeep));
    window.addEventListener("beforeunload", (event) => { if (text.value !== begun && !form.dataset.sent) event.preventDefault(); });
  });
  each("[data-goto]", (link) => link.addEventListener("click", (event) => {
    const area = document.querySelector("textarea.code, textarea.document");
    if (!area) return;
    event.preventDefault();
    const [line, column] = link.dataset.goto.split(":").map(Number);
    const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0) + Math.max(0, (column || 1) - 1);
    area.focus();
    area.setSelectionRange(before, before + 1);
    area.scrollTop = Math.max(0, (line - 6) * 20);
  }));

  // --- copying --------------------------------------------------------------------------------------------------
  function readyCopies() {
    each("[data-copy][hidden]", (button) => { if (navigator.clipboard) button.hidden = false; });
  }
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("[data-copy-source]").textContent;
    navigator.clipboard.writeText(text).then(() => {
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  });

  // --- opening what an address names ----------------------------------------------------------------------------
  function openTarget() {
    const id = decodeURIComponent(location.hash.slice(1));
    const target = id ? document.getElementById(id) : null;
    if (!target) return;
    let place = target.querySelector(":scope > details") || target;
    for (; place; place = place.parentElement) if (place.tagName === "DETAILS") place.open = true;
    target.scrollIntoView({ block: "start" });
    if (target.matches("textarea, input")) target.focus({ preventScroll: true });
  }
  window.addEventListener("hashchange", openTarget);
  document.addEventListener("click", (event) => {
    if (event.target.closest(".more-list a")) event.target.closest("details").open = false;
  });

  // --- keyboard -------------------------------------------------------------------------------------------------
  const help = document.querySelector("[data-help]");
  let waitsForGo = false;
  function move(step) {
    const links = [...document.querySelectorAll("[data-list] a.row-link")];
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    links[Math.min(links.length - 1, Math.max(0, at + step))].focus();
  }
  const keys = {
    "?": () => help?.showModal(),
    "/": () => document.querySelector("[data-search]")?.focus(),
    j: () => move(1),
    k: () => move(-1),
    a: () => document.querySelector('form[action$="/acknowledge"] button')?.click(),
    n: () => document.querySelector("[data-note] textarea")?.focus(),
    d: () => document.querySelector('[data-key="d"]')?.click(),
  };
  const places = { n: "/", i: "/incidents", r: "/runs", b: "/runbooks", s: "/services", p: "/postmortems" };
  document.addEventListener("keydown", (event) => {
    if (body.dataset.shortcuts === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
    if (waitsForGo) {
      waitsForGo = false;
      if (places[event.key]) { event.preventDefault(); location.assign(places[event.key]); }
      return;
    }
    if (event.key === "g") { waitsForGo = true; setTimeout(() => { waitsForGo = false; }, 1000); return; }
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });

  showTheme();
  showTimes();
  readyCopies();
  openTarget();
  listen();
  setInterval(showTimes, 15000);
  if (document.querySelector("[data-countdown]")) setInterval(showTimes, 1000);
})();
