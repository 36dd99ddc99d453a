// Getting to what is meant: a fault's line in a text, what an address names, a copy of a command.
(() => {
  "use strict";
  const { each } = Backstop;

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-goto]");
    const area = link && document.querySelector("textarea.code, textarea.document");
    if (!area) return;
    event.preventDefault();
    const [line, column] = link.dataset.goto.split(":").map(Number);
    const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0) + Math.max(0, (column || 1) - 1);
    area.focus();
    area.setSelectionRange(before, before + 1);
    area.scrollTop = Math.max(0, (line - 6) * 20);
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
  openTarget();

  // --- the list behind "More" closes by itself ------------------------------------------------------------------
  const more = document.querySelector(".bottom > details");
  document.addEventListener("click", (event) => {
    if (more?.open && (event.target.closest(".more-list a") || !event.target.closest(".bottom > details"))) more.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !more?.open) return;
    more.open = false;
    more.querySelector("summary").focus();
  });

  // --- copying --------------------------------------------------------------------------------------------------
  const ready = () => each("[data-copy][hidden]", (button) => { if (navigator.clipboard) button.hidden = false; });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("[data-copy-source]").textContent;
    navigator.clipboard.writeText(text).then(() => {
      button.textContent = "Copied";
      Backstop.say("Copied");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  });
  document.addEventListener("htmx:after:settle", ready);
  ready();

  // What scrolls sideways is reached by Tab and scrolled by the arrow keys; not every browser offers that by itself.
  const reachable = () => Backstop.each(".scroll, .prose pre, .prose table", (it) => {
    if (it.scrollWidth > it.clientWidth) it.tabIndex = 0;
  });
  reachable();
  addEventListener("resize", reachable);
  document.addEventListener("htmx:after:swap", reachable);
})();
