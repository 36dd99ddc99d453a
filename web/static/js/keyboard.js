// The keyboard: one letter does what a button of the page does. Off inside fields; can be switched off (account page).
(() => {
  "use strict";
  const { body } = Backstop;
  const help = document.querySelector("[data-help]");
  const places = { n: "/", i: "/incidents", r: "/runs", b: "/runbooks", s: "/services", p: "/postmortems", a: "/actions", h: "/guide" };

  const rows = () => [...document.querySelectorAll("[data-list] a.row-link, [data-list] [data-row-link]")].filter(Backstop.isVisible);
  function move(step) {
    const links = rows();
    if (!links.length) return;
    const at = links.indexOf(document.activeElement);
    const next = links[at < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + step))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }
  const first = (selector) => [...document.querySelectorAll(selector)].find(Backstop.isVisible);
  function open(element) {
    if (!element) return;
    for (let fold = element.closest("details"); fold; fold = fold.parentElement?.closest("details")) fold.open = true;
    element.scrollIntoView({ block: "center" });
    (element.matches("details") ? element.querySelector("summary") : element).focus({ preventScroll: true });
    if (element.matches("details")) element.open = true;
  }
  const keys = {
    "?": () => help?.showModal(),
    "/": () => {
      const field = first("[data-search]") || first("[data-search-here]");
      if (field) { field.focus(); field.select(); } else location.assign("/search");
    },
    j: () => move(1),
    k: () => move(-1),
    a: () => first('form[action$="/acknowledge"] button')?.click(),
    n: () => open(first("[data-note] textarea")),
    o: () => first(".asks a.button, .is-waiting a.button")?.click(),
  };

  let goes = 0;
  document.addEventListener("keydown", (event) => {
    if (body.dataset.shortcuts === "off" || event.altKey || event.isComposing || event.defaultPrevented) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
      event.preventDefault();
      Backstop.palette?.();
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable], dialog")) return;
    const going = goes;
    clearTimeout(goes);
    goes = 0;
    if (going) {
      if (places[event.key]) { event.preventDefault(); location.assign(places[event.key]); }
      return;
    }
    if (event.key === "g") { goes = setTimeout(() => { goes = 0; }, 1500); return; }
    // A page's own buttons say by which key they go: data-key.
    const own = /^[a-z]$/i.test(event.key) && first(`[data-key="${event.key}"]`);
    if (!own && !keys[event.key]) return;
    event.preventDefault();
    if (!own) keys[event.key]();
    else if (own.matches("a, button")) own.click();
    else open(own);
  });
  // Escape gives the keys back to the page.
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.matches?.("[data-search], [data-search-here], [data-note] textarea")) event.target.blur();
  });
})();
