// Light, dark or as the system; times in UTC or here. Both are kept on this device (theme.js reads them before the paint).
(() => {
  "use strict";
  const { root, each, remember, forget } = Backstop;
  const themes = ["system", "light", "dark"];
  const show = () => each("[data-theme-word]", (word) => { word.textContent = root.dataset.theme || "system"; });
  const offer = (selector) => each(selector, (button) => { button.hidden = false; });

  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-theme-toggle]")) {
      const next = themes[(themes.indexOf(root.dataset.theme || "system") + 1) % themes.length];
      if (next === "system") { delete root.dataset.theme; forget("theme"); } else { root.dataset.theme = next; remember("theme", next); }
      show();
    }
    if (event.target.closest("[data-zone-toggle]")) {
      root.dataset.zone = root.dataset.zone === "local" ? "utc" : "local";
      remember("zone", root.dataset.zone);
      Backstop.showTimes();
    }
  });
  offer("[data-theme-toggle]");
  offer("[data-zone-toggle]");
  show();
})();
