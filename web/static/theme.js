// Runs before the first paint, so that a chosen theme never flashes.
(() => {
  try {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.zone = localStorage.getItem("zone") === "local" ? "local" : "utc";
  } catch {
    // Storage is switched off: the system's theme and UTC it is.
  }
})();
