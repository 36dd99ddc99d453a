// ⌘K or Ctrl-K: go anywhere by typing. Places of this page first, then what the search finds.
(() => {
  "use strict";
  const dialog = document.querySelector("[data-palette]");
  if (!dialog) return;
  const field = dialog.querySelector("input");
  const list = dialog.querySelector("ul");
  let asked = 0;
  let timer = 0;

  const places = () => [...document.querySelectorAll(".rail nav a")].map((link) => ({ href: link.href, text: link.querySelector("span")?.textContent || link.textContent }));
  function show(found) {
    list.replaceChildren(...found.map((one) => {
      const row = document.createElement("li");
      const link = document.createElement("a");
      link.href = one.href;
      link.textContent = one.text.replace(/\s+/g, " ").trim();
      row.append(link);
      return row;
    }));
  }
  async function look() {
    const words = field.value.trim();
    const mine = ++asked;
    const near = places().filter((place) => place.text.toLowerCase().includes(words.toLowerCase()));
    if (!words) { show(near); return; }
    try {
      const { answer, fresh } = await Backstop.page(`/search?q=${encodeURIComponent(words)}`);
      if (mine !== asked || !answer.ok) return;
      const found = [...fresh.querySelectorAll("[data-results] a.row-link")].map((link) => ({ href: link.getAttribute("href"), text: link.textContent }));
      show([...near, ...found].slice(0, 12));
    } catch {
      show(near);
    }
  }
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(look, 150); });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const stops = [field, ...list.querySelectorAll("a")];
    stops[(stops.indexOf(document.activeElement) + step + stops.length) % stops.length].focus();
  });
  Backstop.palette = () => {
    if (dialog.open) { dialog.close(); return; }
    field.value = "";
    show(places());
    dialog.showModal();
    field.focus();
  };
})();
