// A textarea with a YAML text becomes CodeMirror: what the server's linter finds is underlined while one types, and what
// is typed stays on this device until it is kept. Without this script the textarea and "Check only" do the same job.
(() => {
  "use strict";
  const form = document.querySelector("form[data-editor]");
  if (!form) return;
  const area = form.querySelector("textarea[name=text]");
  const base = form.querySelector("[name=begun_from]");
  const pause = 400;

  // --- what is typed survives a reload --------------------------------------------------------------------------
  const place = `text:${location.pathname}`;
  const keptLine = form.querySelector("[data-kept]");
  const swap = form.querySelector("[data-kept-swap]");
  const stored = () => { try { return JSON.parse(localStorage.getItem(place)); } catch { return null; } };
  const store = (kept) => { try { localStorage.setItem(place, JSON.stringify(kept)); return true; } catch { return false; } };
  const forget = () => { try { localStorage.removeItem(place); } catch { /* storage is off */ } };
  const begunFrom = () => (base ? base.value : "");
  let offer = null;

  function bringBack() {
    const kept = stored();
    if (!kept || typeof kept.text !== "string") return;
    const fresh = new URLSearchParams(location.search).has("fresh");
    if (fresh || kept.text === area.value || (kept.sent && kept.base !== begunFrom())) { forget(); return; }
    // After a refusal the page holds what was typed; that is newer than what is kept.
    if ("refused" in form.dataset) return;
    offer = { text: kept.sent ? kept.text : area.value, base: kept.sent ? kept.base : begunFrom() };
    if (!kept.sent) {
      area.value = kept.text;
      // Who kept a revision meanwhile is then found out when this text is kept, not overwritten unseen.
      if (base) base.value = kept.base;
    }
    keptLine.textContent = kept.sent ? "A text that you sent from here is still on this device." : "What you had typed is back.";
    swap.textContent = kept.sent ? "Bring it back" : "Start from the stored text instead";
    swap.hidden = false;
  }
  bringBack();

  // --- the editor -----------------------------------------------------------------------------------------------
  const CM = window.CodeMirror;
  const wordsOf = document.querySelector("[data-editor-words]");
  const words = wordsOf ? JSON.parse(wordsOf.textContent) : {};
  let view = null;
  const text = () => (view ? view.state.doc.toString() : area.value);

  function complete(context) {
    const line = context.state.doc.lineAt(context.pos).text.slice(0, context.pos - context.state.doc.lineAt(context.pos).from);
    const value = /(?:^|[\s{,-])(\w+):\s*([\w.:]*)$/.exec(line);
    if (value) {
      const options = words.values?.[value[1]];
      return options ? { from: context.pos - value[2].length, options, validFor: /^[\w.:]*$/ } : null;
    }
    const key = /^(\s*)(?:-\s+)?(\w*)$/.exec(line);
    if (!key || (!key[2] && !context.explicit)) return null;
    const options = words.keys?.[key[1] || line.includes("-") ? "step" : "top"];
    return options ? { from: context.pos - key[2].length, options, validFor: /^\w*$/ } : null;
  }

  function build() {
    const { EditorView, EditorState, HighlightStyle, tags } = CM;
    const theme = EditorView.theme({
      "&": { color: "var(--ink)", backgroundColor: "var(--surface)", fontSize: "13px" },
      ".cm-content": { fontFamily: "var(--mono)", lineHeight: "20px", caretColor: "var(--ink)", padding: "8px 0" },
      ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--ink-3)", border: "0", fontFamily: "var(--mono)" },
      ".cm-activeLine": { backgroundColor: "transparent" },
      "&.cm-focused .cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--sunken) 60%, transparent)" },
      ".cm-activeLineGutter": { backgroundColor: "var(--line)", color: "var(--ink)" },
      ".cm-cursor": { borderLeftColor: "var(--ink)" },
      ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
        backgroundColor: "color-mix(in srgb, var(--accent) 25%, transparent)" },
      ".cm-selectionMatch, .cm-searchMatch": { backgroundColor: "color-mix(in srgb, var(--unsure) 25%, transparent)" },
      ".cm-tooltip, .cm-panels": { color: "var(--ink)", backgroundColor: "var(--surface)", border: "1px solid var(--edge)", borderRadius: "4px" },
      ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
      ".cm-diagnostic": { fontFamily: "var(--font)", padding: "6px 10px" },
      ".cm-diagnostic-error": { borderLeft: "3px solid var(--fail)" },
      ".cm-diagnostic-warning": { borderLeft: "3px solid var(--unsure)" },
      // Drawn by text decoration, because the pictures of the original are data: addresses, which our CSP refuses.
      ".cm-lintRange": { backgroundImage: "none", textDecorationLine: "underline", textDecorationStyle: "wavy", textDecorationThickness: "1.5px",
        textUnderlineOffset: "3px", textDecorationSkipInk: "none" },
      ".cm-lintRange-error": { textDecorationColor: "var(--fail)", backgroundColor: "var(--fail-tint)" },
      ".cm-lintRange-warning": { textDecorationColor: "var(--unsure)", backgroundColor: "var(--unsure-tint)" },
      ".cm-lint-marker": { content: "none", width: "8px", height: "8px", margin: "6px 3px" },
      ".cm-lint-marker-error": { backgroundColor: "var(--fail)" },
      ".cm-lint-marker-warning": { backgroundColor: "var(--unsure)", borderRadius: "50%" },
      ".cm-foldPlaceholder": { backgroundColor: "var(--sunken)", border: "1px solid var(--line)", color: "var(--ink-2)" },
    });
    const colours = HighlightStyle.define([
      { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
      { tag: [tags.comment, tags.meta], color: "var(--ink-3)" },
      { tag: [tags.keyword, tags.atom, tags.bool], color: "var(--running)" },
      { tag: [tags.punctuation, tags.separator, tags.squareBracket, tags.brace], color: "var(--ink-3)" },
    ]);
    view = new EditorView({
      doc: area.value,
      extensions: [
        EditorView.cspNonce.of(form.dataset.nonce),
        CM.Prec.highest(CM.keymap.of([{ key: "Mod-s", preventDefault: true, run: () => { form.requestSubmit(); return true; } }])),
        CM.basicSetup,
        CM.keymap.of([...CM.lintKeymap, CM.indentWithTab]),
        CM.yaml(),
        EditorState.languageData.of(() => [{ autocomplete: complete }]),
        CM.indentUnit.of("  "),
        CM.lintGutter(),
        theme,
        CM.syntaxHighlighting(colours),
        EditorView.contentAttributes.of({ "aria-label": "YAML", tabindex: "0", spellcheck: "false", autocapitalize: "off", autocorrect: "off" }),
        EditorView.updateListener.of((update) => { if (update.docChanged) { area.value = text(); changed(); } }),
      ],
    });
    area.after(view.dom);
    area.hidden = true;
    // Nobody could see why an empty text does not go out; the server says it.
    area.required = false;
    // The label leads to the text that is seen.
    form.querySelector(`label[for="${area.id}"]`)?.addEventListener("click", () => view.focus());
    form.querySelector("[data-editor-keys]")?.removeAttribute("hidden");
  }
  if (CM) build();
  else area.addEventListener("input", () => changed());

  // --- findings -------------------------------------------------------------------------------------------------
  const box = document.querySelector("[data-findings]");
  const state = box.querySelector("[data-findings-state]");
  const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
  let asking = null;

  function show(found) {
    box.querySelector("[data-findings-count]").textContent = `${plural(found.errors, "error")}, ${plural(found.warnings, "warning")}`;
    box.querySelector("[data-findings-none]").hidden = found.findings.length > 0;
    box.querySelector("[data-findings-list]").replaceChildren(...found.findings.map(row));
    if (view) view.dispatch(CM.setDiagnostics(view.state, found.findings.map(diagnostic)));
  }
  function row(finding) {
    const item = box.querySelector("[data-findings-row]").content.firstElementChild.cloneNode(true);
    item.classList.add(`is-${finding.severity}`);
    item.querySelector(`[data-${finding.severity}]`).hidden = false;
    const link = item.querySelector("a");
    link.textContent = `line ${finding.line}, column ${finding.column}`;
    link.dataset.goto = `${finding.line}:${finding.column}`;
    const code = item.querySelector("[data-code]");
    code.textContent = finding.code;
    if (finding.guide) { code.href = finding.guide; code.title = `What ${finding.code} means`; }
    item.querySelector("[data-message]").textContent = finding.message;
    item.querySelector("[data-fix]").textContent = finding.fix;
    return item;
  }
  // From the place that the linter names to the end of the word or value there; at least one character.
  function span(lineNumber, column) {
    const line = view.state.doc.line(Math.min(Math.max(1, lineNumber), view.state.doc.lines));
    const start = Math.min(line.from + Math.max(0, column - 1), line.to);
    const rest = line.text.slice(start - line.from);
    const length = (/^("[^"]*"|'[^']*'|[^\s#,{}[\]][^#,{}[\]]*[^\s#,{}[\]]|\S)/.exec(rest) || [""])[0].length;
    return length ? { from: start, to: start + length } : { from: Math.max(line.from, start - 1), to: line.to };
  }
  const diagnostic = (finding) => ({
    ...span(finding.line, finding.column),
    severity: finding.severity,
    message: `${finding.code} ${finding.message}${finding.fix ? `\n${finding.fix}` : ""}`,
  });

  async function check() {
    asking?.abort();
    asking = new AbortController();
    state.textContent = "checking…";
    const body = new FormData();
    body.append("text", text());
    for (const name of ["csrfmiddlewaretoken", "team"]) {
      const input = form.querySelector(`[name=${name}]`);
      if (input) body.append(name, input.value);
    }
    try {
      const answer = await fetch(form.dataset.lint, {
        method: "POST", body, headers: { Accept: "application/json" }, credentials: "same-origin", signal: asking.signal });
      const told = await answer.json();
      if (!answer.ok) throw new Error(told.detail || told.title || `answer ${answer.status}`);
      show(told);
      state.textContent = `checked ${new Date().toISOString().slice(11, 19)} UTC`;
    } catch (fault) {
      if (fault.name !== "AbortError") state.textContent = navigator.onLine ? `not checked: ${fault.message}` : "not checked: no network";
    }
  }
  let lintTimer = 0;
  let keepTimer = 0;
  let dirty = false;
  function changed() {
    dirty = true;
    clearTimeout(lintTimer);
    lintTimer = setTimeout(check, pause);
    clearTimeout(keepTimer);
    keepTimer = setTimeout(keep, pause);
    swap.hidden = true;
  }
  function keep() {
    const done = store({ text: text(), base: begunFrom(), sent: false });
    keptLine.textContent = done ? `On this device since ${new Date().toISOString().slice(11, 19)} UTC; not kept as a revision yet.` : "";
  }
  function goTo(place) {
    const [line, column] = place.split(":").map(Number);
    if (view) {
      const at = span(line, column);
      view.dispatch({ selection: { anchor: at.from, head: at.to }, effects: CM.EditorView.scrollIntoView(at.from, { y: "center" }) });
      view.focus();
      return;
    }
    const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0) + Math.max(0, column - 1);
    area.focus();
    area.setSelectionRange(before, before + 1);
    area.scrollTop = Math.max(0, (line - 6) * 20);
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-goto]");
    if (!link) return;
    event.preventDefault();
    goTo(link.dataset.goto);
  });
  swap.addEventListener("click", () => {
    if (view) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: offer.text } });
    else area.value = offer.text;
    if (base) base.value = offer.base;
    forget();
    clearTimeout(keepTimer);
    dirty = false;
    swap.hidden = true;
    keptLine.textContent = "";
  });
  form.querySelector("[name=team]")?.addEventListener("change", check);
  // Sent is not kept yet: whether it arrived shows when this page is opened again.
  form.addEventListener("submit", (event) => {
    if (event.defaultPrevented) return;
    area.value = text();
    clearTimeout(keepTimer);
    dirty = false;
    store({ text: text(), base: begunFrom(), sent: !event.submitter?.name });
  });
  window.addEventListener("pagehide", () => { if (dirty) keep(); });
  check();
})();
