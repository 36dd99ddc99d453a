// Times in both zones, where a deadline must not be mistaken: UTC comes from the server, the reader's own is added here.
(() => {
  "use strict";
  const own = () => document.querySelectorAll("[data-own-zone]").forEach((place) => {
    const at = new Date(place.dataset.ownZone);
    if (Number.isNaN(at.getTime())) return;
    const here = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hour12: false, timeZoneName: "short" }).format(at);
    const text = at.getTimezoneOffset() === 0 ? " (your zone too)" : ` (${here})`;
    if (place.textContent !== text) place.textContent = text;
  });
  own();
  // The frame is put in anew when its request moves on.
  new MutationObserver(own).observe(document.getElementById("main"), { childList: true, subtree: true });
})();
