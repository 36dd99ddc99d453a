// Keeps times right while a page stays open: "4 min ago", the reader's zone, countdowns.
(() => {
  "use strict";
  const { root, each, now } = Backstop;
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
    const seconds = (at - now()) / 1000;
    if (Math.abs(seconds) < 10) return "now";
    return seconds > 0 ? `in ${span(seconds, 1)}` : `${span(seconds, 1)} ago`;
  };
  const local = (at, form, server) => {
    const options = { hour: "2-digit", minute: "2-digit", hour12: false };
    if (/\d:\d\d:\d\d/.test(server)) options.second = "2-digit";
    if (form === "full" || Math.abs(now() - at) > 72e6) Object.assign(options, { day: "2-digit", month: "short" });
    if (form === "full") options.year = "numeric";
    return new Intl.DateTimeFormat(undefined, options).format(at);
  };

  Backstop.showTimes = () => {
    each("time[data-form]", (time) => {
      const at = new Date(time.dateTime);
      if (Number.isNaN(at.getTime())) return;
      const form = time.dataset.form;
      // The server's own words are kept, so that switching back to UTC shows them again.
      if (time.dataset.shown === undefined || time.dataset.shownFor !== time.dateTime) {
        time.dataset.shown = time.textContent;
        time.dataset.shownFor = time.dateTime;
      }
      const shown = time.dataset.shown;
      const text = form === "ago" ? ago(at) : root.dataset.zone === "local" ? local(at, form, shown) : shown;
      if (time.textContent !== text) time.textContent = text;
    });
    each("[data-zone-word]", (word) => { word.textContent = root.dataset.zone === "local" ? "Local time" : "UTC"; });
    each("[data-countdown]", (element) => {
      const left = (new Date(element.dataset.countdown) - now()) / 1000;
      const text = left > 0 ? `${span(left, 2)} left` : "The time is over; nothing was applied";
      if (element.textContent !== text) element.textContent = text;
    });
  };

  document.addEventListener("htmx:after:swap", Backstop.showTimes);
  document.addEventListener("htmx:after:settle", Backstop.showTimes);
  Backstop.showTimes();
  setInterval(Backstop.showTimes, 15000);
  setInterval(() => { if (document.querySelector("[data-countdown]")) Backstop.showTimes(); }, 1000);
})();
