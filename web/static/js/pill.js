// "3 new": entries that came to a list while its reader looks elsewhere. They move nothing; the pill leads to them.
(() => {
  "use strict";
  const { each } = Backstop;
  const pill = document.querySelector("[data-pill]");
  if (!pill) return;
  const lists = () => document.querySelectorAll("[data-growing], .timeline");
  const known = new Set();
  const waiting = new Set();
  const note = () => lists().forEach((list) => each(":scope > li[id]", (row) => known.add(row.id), list));

  const place = (row) => {
    const box = row.getBoundingClientRect();
    const head = document.querySelector("main .head");
    const top = head ? Math.max(0, head.getBoundingClientRect().bottom) : 0;
    const bar = document.querySelector(".bottom");
    const bottom = innerHeight - (bar && Backstop.isVisible(bar) ? bar.offsetHeight : 0);
    if (box.bottom < top + 8) return "above";
    return box.top > bottom - 8 ? "below" : "in view";
  };
  function show() {
    const rows = [...waiting].map((id) => document.getElementById(id)).filter(Boolean);
    const away = rows.filter((row) => place(row) !== "in view" && Backstop.isVisible(row));
    waiting.clear();
    away.forEach((row) => waiting.add(row.id));
    pill.hidden = !away.length;
    if (!away.length) return;
    const above = place(away[0]) === "above";
    pill.textContent = `${away.length} new ${above ? "↑" : "↓"}`;
    pill.classList.toggle("is-below", !above);
  }
  function grown() {
    let came = 0;
    lists().forEach((list) => each(":scope > li[id]", (row) => {
      if (known.has(row.id)) return;
      known.add(row.id);
      waiting.add(row.id);
      came += 1;
    }, list));
    if (came) { show(); if (!pill.hidden) Backstop.say(`${waiting.size} new`); }
  }
  pill.addEventListener("click", () => {
    const row = document.getElementById([...waiting][0]);
    waiting.clear();
    pill.hidden = true;
    if (!row) return;
    row.scrollIntoView({ block: "center" });
    row.tabIndex = -1;
    row.focus({ preventScroll: true });
  });
  let due = 0;
  window.addEventListener("scroll", () => {
    if (waiting.size && !due) due = setTimeout(() => { due = 0; show(); }, 100);
  }, { passive: true });
  document.addEventListener("htmx:after:swap", () => requestAnimationFrame(grown));
  note();
})();
