// Forms that tell what became of them: sent once, "not sent" without a network, nothing typed is lost.
(() => {
  "use strict";
  const { each, remember, recall, forget, bump } = Backstop;

  // A button says what happens and, when nothing did, what it said before.
  Backstop.saying = (button, text) => {
    if (!button) return;
    button.dataset.label ??= button.textContent;
    button.textContent = text ?? button.dataset.label;
    if (text) Backstop.say(text);
  };

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const button = event.submitter;
    if (form.dataset.sent) { event.preventDefault(); return; }
    if (form.method === "post" && !navigator.onLine) {
      event.preventDefault();
      Backstop.saying(button, "Not sent: no network. Tap again");
      return;
    }
    if (form.hasAttribute("data-decision")) return;
    if (form.hasAttribute("data-note")) { event.preventDefault(); sendNote(form, button); return; }
    if (form.method === "post") {
      form.dataset.sent = "1";
      if (button?.dataset.sending) Backstop.saying(button, button.dataset.sending);
      button?.setAttribute("aria-disabled", "true");
    }
  });
  // Back from another page by the browser's memory: what was sent then may be sent again.
  window.addEventListener("pageshow", () => each("form[data-sent]", (form) => {
    delete form.dataset.sent;
    each("button[aria-disabled]", (button) => { button.removeAttribute("aria-disabled"); Backstop.saying(button); }, form);
  }));

  // --- a note goes without leaving the page ---------------------------------------------------------------------
  const draft = (form) => `draft ${new URL(form.action).pathname}`;
  async function sendNote(form, button) {
    const text = form.querySelector("textarea");
    if (!text.value.trim()) { text.focus(); return; }
    form.dataset.sent = "1";
    Backstop.saying(button, button?.dataset.sending || "Sending…");
    try {
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: { "HX-Request": "true" }, credentials: "same-origin" });
      if (answer.status === 204) {
        form.reset();
        forget(draft(form), "sessionStorage");
        Backstop.saying(button);
        Backstop.say("Written down");
        bump();
      } else if (answer.status === 401) {
        Backstop.saying(button, "Not sent: you are signed out");
        // What is typed is kept; the link of the notice comes back to it.
        Backstop.wake();
      } else {
        // The page knows how to show the fault; what was typed goes with it.
        delete form.dataset.sent;
        form.removeAttribute("data-note");
        form.requestSubmit(button);
        return;
      }
    } catch {
      Backstop.saying(button, "Not sent. Tap again");
    }
    delete form.dataset.sent;
  }
  // What is half typed outlives a reload, a sign-in and a crash of this tab's page.
  each("form[data-note]", (form) => {
    const text = form.querySelector("textarea");
    const kept = recall(draft(form), "sessionStorage");
    if (kept && !text.value) text.value = kept;
    text.addEventListener("input", () => remember(draft(form), text.value, "sessionStorage"));
    form.addEventListener("submit", () => { if (!form.hasAttribute("data-note")) forget(draft(form), "sessionStorage"); });
  });

  // --- long texts are kept on this device until they are saved ---------------------------------------------------
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
})();
