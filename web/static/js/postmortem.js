// The postmortem editor: saves within two seconds, keeps on the device what is not saved, and follows others' work.
// Without it every section is a plain form that says the same things to the same addresses.
(() => {
  "use strict";
  const root = document.querySelector("[data-postmortem]");
  if (!root) return;
  const base = root.dataset.postmortem;
  const prefix = `postmortem:${root.dataset.me}:${root.dataset.number}:`;
  const SAVE_AFTER = 800;
  const SAVE_AT_LATEST = 1800;
  const HOLD_EVERY = 10000;
  const RETRY_AT_MOST = 15000;
  const writers = new Map();
  let lastWriter = null;
  let refreshing = null;

  const keep = (key, value) => { try { localStorage.setItem(prefix + key, JSON.stringify(value)); return true; } catch { return false; } };
  const kept = (key) => { try { return JSON.parse(localStorage.getItem(prefix + key)); } catch { return null; } };
  const forget = (key) => { try { localStorage.removeItem(prefix + key); } catch { /* storage is off */ } };
  const time = (at) => at.toISOString().slice(11, 19);
  const all = (selector, within = root) => [...within.querySelectorAll(selector)];
  const token = () => document.querySelector("[name=csrfmiddlewaretoken]")?.value || "";
  const windowName = (() => {
    try {
      const name = sessionStorage.getItem("window") || crypto.randomUUID().slice(0, 18);
      sessionStorage.setItem("window", name);
      return name;
    } catch { return String(Math.random()).slice(2, 18); }
  })();

  function notice(words) {
    const place = document.querySelector("[data-pm-notice]");
    place.textContent = words;
    place.hidden = !words;
  }

  // What the server says: {status, data}. Status 0 is no answer at all.
  async function send(path, fields, options = {}) {
    const body = new FormData();
    for (const [name, value] of Object.entries({ csrfmiddlewaretoken: token(), ...fields })) body.append(name, value);
    try {
      const answer = await fetch(path, { method: "POST", body, headers: { Accept: "application/json" }, credentials: "same-origin", ...options });
      const isJson = (answer.headers.get("Content-Type") || "").includes("json");
      return { status: answer.status, data: isJson ? await answer.json() : {} };
    } catch { return { status: 0, data: {} }; }
  }
  const address = (key, verb) => `${base}/sections/${key}/${verb}`;

  // --- one section being written ----------------------------------------------------------------------------------
  class Writer {
    constructor(form) {
      this.form = form;
      this.key = form.dataset.write;
      this.area = form.querySelector("textarea");
      this.told = form.querySelector("[data-told]");
      this.was = form.elements.was.value;
      this.saved = this.area.value;
      this.timer = 0;
      this.firstUnsaved = 0;
      this.wait = 2000;
      this.saving = null;
      this.lost = false;
      this.area.addEventListener("input", () => this.typed());
      this.area.addEventListener("focus", () => { lastWriter = this; });
      this.area.addEventListener("keydown", (event) => this.pressed(event));
      form.querySelectorAll("[data-cite]").forEach((button) => { button.hidden = false; button.addEventListener("click", () => find("", this)); });
      form.querySelectorAll("[data-noscript]").forEach((button) => button.remove());
      this.beat = setInterval(() => this.hold(), HOLD_EVERY);
      this.grow();
      lastWriter = this;
    }

    get dirty() { return this.area.value !== this.saved; }
    get section() { return this.form.closest("[data-section]"); }

    say(words, bad = false) {
      this.told.textContent = words;
      this.told.classList.toggle("is-bad", bad);
    }

    grow() {
      this.area.style.height = "auto";
      this.area.style.height = `${this.area.scrollHeight + 2}px`;
    }

    typed() {
      this.grow();
      keep(this.key, { text: this.area.value, was: this.was, at: Date.now() });
      if (!this.firstUnsaved) this.firstUnsaved = Date.now();
      this.plan(Math.max(0, Math.min(SAVE_AFTER, this.firstUnsaved + SAVE_AT_LATEST - Date.now())));
    }

    plan(wait) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.save(), wait);
    }

    async save() {
      clearTimeout(this.timer);
      if (this.saving) { await this.saving; }
      if (!this.dirty || this.lost || this.form.querySelector(".pm-both")) return !this.dirty;
      this.saving = this.send();
      const well = await this.saving;
      this.saving = null;
      if (well && this.dirty) this.plan(SAVE_AFTER);
      return well && !this.dirty;
    }

    async send() {
      const text = this.area.value;
      this.firstUnsaved = 0;
      this.say("saving…");
      const { status, data } = await send(address(this.key, "save"), { text, was: this.was, window: windowName });
      if (status === 200) {
        this.saved = text;
        this.was = data.fingerprint;
        this.wait = 2000;
        const at = time(new Date(data.saved_at));
        this.say(`saved ${at} UTC`);
        const head = document.querySelector("[data-saved]");
        if (head) head.textContent = `saved ${at}`;
        if (this.area.value === text) forget(this.key);
        else keep(this.key, { text: this.area.value, was: this.was, at: Date.now() });
        return true;
      }
      if (status === 409 && data.fingerprint !== undefined && !data.writer) { this.both(data.detail, data.current, data.fingerprint); return false; }
      if (status === 409) { this.lose(data.detail); return false; }
      if (status === 401 || status === 403) { this.say(`Not saved: ${data.detail || "sign in again in another tab"}. Kept on this device`, true); this.plan(RETRY_AT_MOST); return false; }
      if (status && status < 500 && status !== 429) { this.say(`Not saved: ${data.detail || status} Kept on this device`, true); return false; }
      this.say("Not saved: no connection. Kept on this device, tried again by itself", true);
      this.plan(this.wait);
      this.wait = Math.min(this.wait * 2, RETRY_AT_MOST);
      return false;
    }

    async hold() {
      if (this.lost || this.saving) return;
      const { status, data } = await send(address(this.key, "hold"), { window: windowName });
      if (status === 409) this.lose(data.detail);
    }

    // Somebody else went on: nothing more is saved from here, and what was typed stays on the device.
    lose(words) {
      this.lost = true;
      this.area.readOnly = true;
      this.say(`${words} ${this.dirty ? "What you typed since is kept on this device." : ""}`, true);
      if (this.form.querySelector("[data-again]")) return;
      const again = document.createElement("button");
      again.type = "button";
      again.className = "button";
      again.dataset.again = "";
      again.textContent = "Take it back";
      again.addEventListener("click", () => open(this.key, true));
      this.told.before(again);
    }

    both(why, current, fingerprint) {
      if (this.form.querySelector(".pm-both")) return;
      const mine = this.area.value;
      const box = document.getElementById("pm-both").content.cloneNode(true).firstElementChild;
      box.querySelector("[data-why]").textContent = why;
      box.querySelector("[data-mine]").textContent = mine;
      box.querySelector("[data-theirs]").textContent = current || "(empty)";
      this.form.prepend(box);
      this.say("Two texts: both are kept until you choose", true);
      box.addEventListener("click", (event) => {
        const use = event.target.dataset.use;
        if (!use) return;
        box.remove();
        this.was = fingerprint;
        this.saved = current;
        this.area.value = { mine, theirs: current, both: `${current.trim()}\n\n${mine.trim()}` }[use];
        this.grow();
        if (use === "theirs") { forget(this.key); this.say("As it stands now"); } else { this.typed(); this.save(); }
        this.area.focus();
      });
      box.querySelector("button").focus();
    }

    pressed(event) {
      const held = event.ctrlKey || event.metaKey;
      if (held && event.key === "Enter") { event.preventDefault(); this.done(); }
      if (held && event.key.toLowerCase() === "s") { event.preventDefault(); this.save(); }
      if (event.altKey && event.code === "KeyE") { event.preventDefault(); find("", this); }
    }

    cite(reference) {
      const { selectionStart: at, selectionEnd: end, value } = this.area;
      const before = at && !/\s$/.test(value.slice(0, at)) ? " " : "";
      this.area.focus();
      this.area.setRangeText(`${before}[${reference}]`, at, end, "end");
      this.area.dispatchEvent(new Event("input"));
    }

    async done() {
      if (this.dirty && !(await this.save())) return;
      await send(address(this.key, "leave"), { window: windowName });
      this.close();
      await refresh(true);
      document.querySelector(`#s-${CSS.escape(this.key)} [data-take] button`)?.focus({ preventScroll: true });
    }

    close() {
      clearTimeout(this.timer);
      clearInterval(this.beat);
      writers.delete(this.key);
      if (lastWriter === this) lastWriter = null;
    }
  }

  function begin(form) {
    const writer = new Writer(form);
    writers.set(writer.key, writer);
    return writer;
  }

  // Begin to write; what this device kept of before comes back, against what stands there now.
  async function open(key, over = false, focus = true) {
    const { status, data } = await send(address(key, "take"), { window: windowName, ...(over ? { over: "1" } : {}) });
    const unsaved = kept(key);
    if (status !== 200) {
      const why = data.detail || "The server does not answer; try again in a moment.";
      notice(unsaved ? `${why} Words of yours that were not saved are kept on this device and come back when you write here.` : why);
      return null;
    }
    notice("");
    writers.get(key)?.close();
    const section = document.getElementById(`s-${key}`);
    const holder = document.createElement("template");
    holder.innerHTML = data.html;
    const fresh = holder.content.querySelector("[data-section]");
    section.replaceWith(fresh);
    const writer = begin(fresh.querySelector("[data-write]"));
    if (focus) { writer.area.focus({ preventScroll: true }); writer.area.setSelectionRange(writer.area.value.length, writer.area.value.length); }
    if (unsaved && unsaved.text !== data.text) bringBack(writer, unsaved, data);
    else forget(key);
    shown();
    return writer;
  }

  function bringBack(writer, unsaved, now) {
    writer.area.value = unsaved.text;
    writer.grow();
    if (unsaved.was === now.fingerprint) {
      writer.say(`What you typed at ${time(new Date(unsaved.at))} UTC had not been saved: it is back`);
      writer.plan(SAVE_AFTER);
    } else {
      writer.both("What you typed here was not saved, and the section has changed since.", now.text, now.fingerprint);
    }
  }

  // --- following others ---------------------------------------------------------------------------------------------
  const shown = () => document.dispatchEvent(new Event("htmx:after:swap"));

  function busy(part) {
    if (part.querySelector("[data-write]")) return true;
    if (part.contains(document.activeElement) && document.activeElement.matches("input, textarea, select, button")) return true;
    return all("textarea, input:not([type=hidden])", part).some((field) => field.value !== field.defaultValue);
  }

  function swap(fresh, force) {
    for (const part of all("[data-part]", fresh)) {
      const old = document.getElementById(part.id);
      if (!old) continue;
      if (writers.has(part.dataset.section)) continue;
      if (old.dataset.shown === part.outerHTML) continue;
      if (!force && busy(old)) continue;
      // Folds stay as the reader left them.
      const was = part.outerHTML;
      const folds = all("details", old);
      const fresher = all("details", part);
      const words = (fold) => fold.querySelector("summary")?.textContent;
      fresher.forEach((fold, place) => {
        const same = folds.length === fresher.length ? folds[place] : folds.find((other) => words(other) === words(fold));
        if (same) fold.open = same.open;
      });
      old.replaceWith(part);
      part.dataset.shown = was;
    }
    prepare();
    shown();
  }

  async function refresh(force = false) {
    if (refreshing && !force) return refreshing;
    refreshing = (async () => {
      try {
        const tab = new URLSearchParams({ tab: currentTab() });
        const answer = await fetch(`${base}/parts?${tab}`, { headers: { Accept: "text/html" }, credentials: "same-origin" });
        if (!answer.ok || answer.redirected) return;
        swap(new DOMParser().parseFromString(await answer.text(), "text/html"), force);
      } catch { /* away for a moment: the page's own bar says so */ }
      refreshing = null;
    })();
    return refreshing;
  }
  let later = 0;
  document.body.addEventListener("bump", () => {
    // While somebody types, their own saves bump each two seconds; others' work may wait a moment.
    clearTimeout(later);
    later = setTimeout(() => refresh(), writers.size ? 2500 : 200);
  });

  // --- beside the text ----------------------------------------------------------------------------------------------
  const side = () => document.querySelector("[data-side]");
  const currentTab = () => side().querySelector("[data-tab]:not([hidden])")?.dataset.tab || "evidence";
  function tab(name) {
    all("[data-tab]", side()).forEach((panel) => { panel.hidden = panel.dataset.tab !== name; });
    all("[data-tab-link]", side()).forEach((link) => { if (link.dataset.tabLink === name) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current"); });
    side().classList.add("is-open");
  }

  function narrow() {
    const words = document.querySelector("[data-evidence-search]").value.trim().toLowerCase();
    const kind = document.querySelector("[data-evidence-kind]").value;
    const exact = /^[et]\d+$/.test(words);
    for (const row of all("[data-ref]", side())) {
      const fits = !words || (exact ? row.dataset.ref.toLowerCase() === words : row.textContent.toLowerCase().includes(words));
      row.hidden = !fits || Boolean(kind && row.dataset.kind !== kind);
    }
  }

  function find(words, writer) {
    if (writer) lastWriter = writer;
    tab("evidence");
    const search = document.querySelector("[data-evidence-search]");
    search.value = words;
    narrow();
    search.focus();
    search.select();
  }

  function reveal(reference) {
    const row = document.getElementById(`ev-${reference}`);
    if (!row) return false;
    tab("evidence");
    document.querySelector("[data-evidence-search]").value = "";
    document.querySelector("[data-evidence-kind]").value = "";
    narrow();
    const fold = row.querySelector("details");
    if (fold) fold.open = true;
    all(".is-target", side()).forEach((other) => other.classList.remove("is-target"));
    row.classList.add("is-target");
    // Only the panel scrolls: the text stays where it is being read.
    const panel = side();
    panel.scrollTop += row.getBoundingClientRect().top - panel.getBoundingClientRect().top - 96;
    return true;
  }

  function cite(reference) {
    if (!lastWriter || !writers.has(lastWriter.key)) { notice("Choose Edit at a section first: evidence is cited where you write."); return; }
    side().classList.remove("is-open");
    lastWriter.cite(reference);
  }

  document.addEventListener("keydown", (event) => {
    const search = event.target.closest?.("[data-evidence-search]");
    if (search && event.key === "Enter") {
      event.preventDefault();
      const first = all("[data-ref]", side()).find((row) => !row.hidden);
      if (first) { cite(first.dataset.ref); search.value = ""; narrow(); }
    }
    if (search && event.key === "Escape") { search.value = ""; narrow(); side().classList.remove("is-open"); lastWriter?.area.focus(); }
    if (document.body.dataset.shortcuts === "off" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
    if (event.key === "e") { event.preventDefault(); find(""); }
  });
  document.addEventListener("input", (event) => { if (event.target.matches("[data-evidence-search], [data-evidence-kind]")) narrow(); });
  document.addEventListener("dragstart", (event) => {
    const row = event.target.closest?.("[data-ref]");
    if (row) event.dataTransfer.setData("text/plain", `[${row.dataset.ref}]`);
  });

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest("a");
    const insert = event.target.closest("[data-insert]");
    if (insert) { cite(insert.dataset.insert); return; }
    if (event.target.closest("[data-side-close]")) { side().classList.remove("is-open"); return; }
    if (!link) return;
    if (link.dataset.tabLink) { event.preventDefault(); tab(link.dataset.tabLink); return; }
    const place = /\/incidents\/\d+(?:\/evidence\/(\d+)|#t-(\d+))$/.exec(link.href);
    if (place && root.contains(link) && !link.closest("[data-side]") && reveal(place[1] ? `E${place[1]}` : `T${place[2]}`)) { event.preventDefault(); return; }
    if (link.dataset.jump) { event.preventDefault(); jump(link.dataset.jump); }
  });

  // To a line of a section: in its text if somebody may write there, else to the section.
  async function jump(where) {
    const [key, line] = where.split(":");
    const section = document.getElementById(`s-${key}`);
    if (!section) return;
    side().classList.remove("is-open");
    section.scrollIntoView({ block: "start" });
    const writer = writers.get(key) || (section.querySelector("[data-take] [name=over]") || !section.querySelector("[data-take]") ? null : await open(key));
    if (!writer) return;
    const lines = writer.area.value.split("\n");
    const before = lines.slice(0, Number(line) - 1).join("\n").length + (Number(line) > 1 ? 1 : 0);
    writer.area.focus();
    writer.area.setSelectionRange(before, before + (lines[Number(line) - 1] || "").length);
    writer.area.scrollIntoView({ block: "nearest" });
  }

  // --- forms: in place where a script may, by a page elsewhere --------------------------------------------------------
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.take) { stop(event); open(form.dataset.take, Boolean(form.elements.over)); return; }
    if (form.dataset.write && writers.has(form.dataset.write)) { stop(event); writers.get(form.dataset.write).done(); return; }
    if (form.hasAttribute("data-evidence-form")) { stop(event); return; }
    if (form.hasAttribute("data-quiet")) { stop(event); quiet(form, event.submitter); }
  }, true);
  function stop(event) { event.preventDefault(); event.stopPropagation(); }

  async function quiet(form, button) {
    if (form.dataset.sent) return;
    form.dataset.sent = "1";
    button?.setAttribute("aria-disabled", "true");
    const { status, data } = await send(form.action, Object.fromEntries(new FormData(form)));
    delete form.dataset.sent;
    button?.removeAttribute("aria-disabled");
    if (status !== 200) { notice(status ? `${data.detail || "That did not work."} ${data.fix || ""}` : "Not sent: no connection. Try again."); return; }
    notice("");
    if (form.hasAttribute("data-resets")) form.reset();
    button?.blur();
    await refresh();
    form.closest("details")?.removeAttribute("open");
  }

  // --- leaving and coming back ----------------------------------------------------------------------------------------
  const saveAll = () => writers.forEach((writer) => writer.save());
  window.addEventListener("online", saveAll);
  // The server has just answered the page, so what could not be saved need not wait for its next try.
  document.body.addEventListener("pulse", saveAll);
  window.addEventListener("beforeunload", (event) => { if ([...writers.values()].some((writer) => writer.dirty)) event.preventDefault(); });
  window.addEventListener("pagehide", () => {
    writers.forEach((writer) => {
      if (writer.lost) return;
      const fields = { csrfmiddlewaretoken: token(), window: windowName, text: writer.area.value, was: writer.was };
      const body = new FormData();
      for (const [name, value] of Object.entries(fields)) body.append(name, value);
      if (writer.dirty) navigator.sendBeacon(address(writer.key, "save"), body);
      else navigator.sendBeacon(address(writer.key, "leave"), body);
    });
  });
  window.addEventListener("pageshow", (event) => { if (event.persisted) { writers.forEach((writer) => writer.hold()); refresh(); } });

  function prepare() {
    all("[data-insert][hidden]", document).forEach((button) => { button.hidden = false; });
    const hint = document.querySelector("[data-evidence-hint]");
    if (hint) hint.hidden = false;
    all("[data-side-close]", document).forEach((button) => { button.hidden = false; });
    narrow();
  }

  async function start() {
    prepare();
    if (window.matchMedia("(max-width: 1199px)").matches) all("[data-narrow-closed]").forEach((fold) => { fold.open = false; });
    const begun = root.querySelector("[data-write]")?.dataset.write;
    if (begun) await open(begun);
    let back = [];
    try { back = Object.keys(localStorage).filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)); } catch { /* storage is off */ }
    for (const key of back) {
      if (key === begun || !document.getElementById(`s-${key}`)) continue;
      const writer = await open(key, false, false);
      writer?.section.scrollIntoView({ block: "center" });
    }
  }
  start();
})();
