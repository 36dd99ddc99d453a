// Charts by uPlot, from the same numbers as the server's drawing (web/pages/charts.py): it follows the theme and the
// zone, tells the value under the cursor, and stays what it is while the page around it is morphed.
(() => {
  "use strict";
  if (!window.uPlot) return;
  const root = document.documentElement;
  const colour = (name) => () => getComputedStyle(root).getPropertyValue(name).trim();
  const ink = colour("--ink"), ink2 = colour("--ink-2"), ink3 = colour("--ink-3"), line = colour("--line");
  const edge = colour("--edge"), accent = colour("--accent"), fail = colour("--fail"), surface = colour("--surface"), sunken = colour("--sunken");
  const face = () => getComputedStyle(document.body).fontFamily;
  const dense = () => window.devicePixelRatio || 1;
  const zone = () => (root.dataset.zone === "local" ? undefined : "UTC");
  const time = (seconds, precise) => new Intl.DateTimeFormat("en-GB", {
    timeZone: zone(), hour: "2-digit", minute: "2-digit", ...(precise ? { second: "2-digit" } : {}),
  }).format(seconds * 1000);
  const day = (seconds) => new Intl.DateTimeFormat("en-GB", { timeZone: zone(), day: "numeric", month: "short" }).format(seconds * 1000);
  const written = (value, digits) => (Math.abs(value) >= 1e6 ? `${value / 1e6}M` : Math.abs(value) >= 1e4 ? `${value / 1e3}k` : value.toFixed(digits));
  // As chart_axes.short writes the value at a line's end.
  const short = (value) => {
    const size = Math.abs(value);
    if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
    if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
    if (size >= 1e3) return Math.round(value).toLocaleString("en-GB");
    return size && size < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
  };
  const kept = new Map();

  // --- what is drawn beside the lines -----------------------------------------------------------------------------
  function behind(u, chart) {
    const { ctx, bbox } = u;
    const x = (t) => u.valToPos(t, "x", true), y = (v) => u.valToPos(v, "y", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const band = chart.band;
    let run = [];
    const flush = () => {
      if (run.length > 1) {
        ctx.beginPath();
        run.forEach(([t, , high], n) => ctx[n ? "lineTo" : "moveTo"](x(t), y(high)));
        [...run].reverse().forEach(([t, low]) => ctx.lineTo(x(t), y(low)));
        ctx.closePath();
        ctx.fillStyle = sunken();
        ctx.fill();
        ctx.strokeStyle = line();
        ctx.lineWidth = dense();
        ctx.stroke();
      }
      run = [];
    };
    if (band) {
      band.t.forEach((t, n) => (band.low[n] === null || band.high[n] === null ? flush() : run.push([t, band.low[n], band.high[n]])));
      flush();
    }
    for (const [from, to] of chart.gaps) hatch(ctx, x(from), x(to), bbox);
    ctx.restore();
  }

  function hatch(ctx, left, right, bbox) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, bbox.top, right - left, bbox.height);
    ctx.clip();
    ctx.beginPath();
    const apart = 8 * dense();
    for (let from = left - bbox.height; from < right; from += apart) {
      ctx.moveTo(from, bbox.top + bbox.height);
      ctx.lineTo(from + bbox.height, bbox.top);
    }
    ctx.globalAlpha = 0.55;
    ctx.strokeStyle = edge();
    ctx.lineWidth = dense();
    ctx.stroke();
    ctx.restore();
  }

  function above(u, chart) {
    const { ctx, bbox } = u, px = dense();
    const bottom = bbox.top + bbox.height;
    ctx.save();
    ctx.textBaseline = "alphabetic";
    ruled(u, chart, px);
    for (const mark of chart.marks) {
      const x = Math.round(u.valToPos(mark.t, "x", true));
      const label = mark.label && !(mark.extra && u.width < 520) ? (mark.kind === "onset" ? `onset ${time(mark.t)}` : mark.label) : "";
      const height = label ? (6 + 14 * mark.row) * px : 0;
      ctx.beginPath();
      ctx.setLineDash(mark.kind === "onset" ? [4 * px, 3 * px] : []);
      ctx.strokeStyle = mark.kind === "onset" ? fail() : edge();
      ctx.lineWidth = (mark.kind === "onset" ? 1.5 : 1) * px;
      ctx.moveTo(x, bbox.top - height);
      ctx.lineTo(x, bottom);
      ctx.stroke();
      ctx.setLineDash([]);
      if (mark.kind === "change") {
        ctx.beginPath();
        [[0, -6], [6, 0], [0, 6], [-6, 0]].forEach(([a, b], n) => ctx[n ? "lineTo" : "moveTo"](x + a * px, bottom + b * px));
        ctx.closePath();
        ctx.fillStyle = surface();
        ctx.fill();
        ctx.strokeStyle = ink();
        ctx.lineWidth = 1.5 * px;
        ctx.stroke();
      } else if (mark.kind === "act") {
        ctx.fillStyle = ink();
        ctx.fillRect(x - 5 * px, bottom - 5 * px, 10 * px, 10 * px);
      }
      if (!label) continue;
      ctx.font = `${mark.kind === "act" ? 600 : 400} ${11 * px}px ${face()}`;
      ctx.fillStyle = mark.kind === "onset" ? fail() : mark.kind === "act" ? ink() : ink2();
      ctx.textAlign = mark.left ? "right" : "left";
      const at = x + (mark.left ? -4 : 4) * px;
      ctx.lineJoin = "round";
      ctx.lineWidth = 3 * px;
      ctx.strokeStyle = surface();
      ctx.strokeText(label, at, bbox.top - height);
      ctx.fillText(label, at, bbox.top - height);
    }
    const values = u.data[1];
    let last = values.length - 1;
    while (last >= 0 && values[last] == null) last -= 1;
    ctx.font = `600 ${12 * px}px ${face()}`;
    ctx.fillStyle = ink();
    ctx.textAlign = "left";
    if (last >= 0) ctx.fillText(short(values[last]), bbox.left + bbox.width + 6 * px, u.valToPos(values[last], "y", true) + 4 * px);
    if (chart.unit) {
      ctx.font = `400 ${11 * px}px ${face()}`;
      ctx.fillStyle = ink3();
      ctx.textAlign = "right";
      ctx.fillText(chart.unit, bbox.left - 8 * px, bbox.top - 10 * px);
    }
    ctx.restore();
  }

  // The limits, and the points that broke them.
  function ruled(u, chart, px) {
    const { ctx, bbox } = u;
    ctx.strokeStyle = ctx.fillStyle = fail();
    ctx.font = `400 ${11 * px}px ${face()}`;
    ctx.textAlign = "right";
    for (const limit of chart.limits) {
      const y = Math.round(u.valToPos(limit.v, "y", true));
      ctx.lineWidth = px;
      ctx.setLineDash([6 * px, 3 * px]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
      ctx.setLineDash([]);
      const at = y + (y - bbox.top < 0.12 * bbox.height ? 14 : -5) * px;
      ctx.save();
      ctx.lineJoin = "round";
      ctx.lineWidth = 3 * px;
      ctx.strokeStyle = surface();
      ctx.strokeText(limit.words, bbox.left + bbox.width - 4 * px, at);
      ctx.restore();
      ctx.fillText(limit.words, bbox.left + bbox.width - 4 * px, at);
    }
    ctx.lineWidth = 2 * px;
    for (const [t, v] of chart.faults) {
      const x = u.valToPos(t, "x", true), y = u.valToPos(v, "y", true), r = 4 * px;
      ctx.beginPath();
      ctx.moveTo(x - r, y - r);
      ctx.lineTo(x + r, y + r);
      ctx.moveTo(x - r, y + r);
      ctx.lineTo(x + r, y - r);
      ctx.stroke();
    }
  }

  // --- the value under the cursor ---------------------------------------------------------------------------------
  function readout(u, chart, tip) {
    const at = u.cursor.idx;
    tip.hidden = at == null || u.cursor.left < 0;
    if (tip.hidden) return;
    const told = chart.lines.map((series, n) => {
      const value = u.data[n + 1][at];
      if (value === undefined) return "";
      return `${chart.lines.length > 1 ? `${series.label} ` : ""}${value === null ? "no data" : `${short(value)}${chart.unit ? ` ${chart.unit}` : ""}`}`;
    }).filter(Boolean);
    tip.textContent = `${time(u.data[0][at], true)}  ${told.join(" · ")}`;
    const left = u.over.offsetLeft + u.cursor.left;
    const room = u.width - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(4, Math.min(left + 12 > room ? left - tip.offsetWidth - 12 : left + 12, room))}px`;
    tip.style.top = `${u.over.offsetTop + 4}px`;
  }

  // --- making and keeping -----------------------------------------------------------------------------------------
  const joined = (chart) => uPlot.join(chart.lines.map((series) => [series.t, series.v]));
  const heightOf = (figure) => (figure.classList.contains("is-small") || window.matchMedia("(max-width: 767px)").matches ? 120 : 160);

  function sizes(figure, chart) {
    const rows = Math.max(0, ...chart.marks.filter((mark) => mark.label).map((mark) => mark.row + 1));
    const narrow = figure.clientWidth <= 520;
    const top = [20, 24, 40][rows] || 20;
    return { top, side: narrow ? 40 : 44, right: narrow ? 48 : 60, width: figure.clientWidth, height: heightOf(figure) + top + 24 };
  }

  function build(figure, holder, told) {
    const state = { chart: JSON.parse(told), told, figure, holder };
    const size = sizes(figure, state.chart);
    if (!size.width) return;
    const text = () => `400 11px ${face()}`;
    const tip = document.createElement("div");
    tip.className = "readout";
    tip.hidden = true;
    tip.setAttribute("aria-live", "polite");
    const axis = { stroke: ink3, font: text(), ticks: { show: false } };
    state.plot = new uPlot({
      width: size.width,
      height: size.height,
      padding: [size.top, size.right, 0, 0],
      legend: { show: false },
      tzDate: (seconds) => (zone() ? uPlot.tzDate(new Date(seconds * 1000), "UTC") : new Date(seconds * 1000)),
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7, fill: (u, n) => (n === 1 ? ink() : accent()), stroke: () => surface(), width: 1.5 } },
      scales: {
        x: { range: () => [state.chart.range[0], state.chart.range[1]] },
        y: { range: () => [state.chart.range[2], state.chart.range[3]] },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 24, gap: 8, space: 80, values: (u, splits) => splits.map((t) => (time(t) === "00:00" ? day(t) : time(t))) },
        { ...axis, grid: { stroke: line, width: 1 }, size: size.side, gap: 8, splits: () => state.chart.ticks, values: (u, splits) => splits.map((v) => written(v, state.chart.digits)) },
      ],
      series: [{}, ...state.chart.lines.map((series, n) => ({
        label: series.label, width: 1.5, spanGaps: false, stroke: n ? accent : ink, dash: n ? [4, 3] : undefined,
        points: { show: (u, s, i0, i1, lone) => Boolean(lone && lone.length), filter: (u, s, show, lone) => (lone && lone.length ? lone : null), size: 4, fill: n ? accent : ink },
      }))],
      hooks: {
        drawClear: [(u) => behind(u, state.chart)],
        draw: [(u) => above(u, state.chart)],
        setCursor: [(u) => readout(u, state.chart, tip)],
      },
    }, joined(state.chart), holder);
    holder.append(tip);
    holder.tabIndex = 0;
    holder.setAttribute("role", "img");
    name(state);
    kept.set(holder, state);
    watcher.observe(figure);
  }

  const name = (state) => state.holder.setAttribute("aria-label", state.figure.dataset.chartLabel || "Chart");

  function update(state, figure, told) {
    const before = state.chart;
    state.chart = JSON.parse(told);
    Object.assign(state, { told, figure });
    name(state);
    // Another number of lines or rows of labels is another drawing.
    const rows = (chart) => `${chart.lines.map((series) => series.label)}|${sizes(figure, chart).top}`;
    if (rows(before) !== rows(state.chart)) { drop(state); build(figure, state.holder, told); return; }
    const cursor = state.plot.cursor.left;
    state.plot.setData(joined(state.chart), true);
    if (cursor >= 0) state.plot.setCursor({ left: cursor, top: state.plot.cursor.top });
  }

  function drop(state) {
    state.plot.destroy();
    state.holder.replaceChildren();
    kept.delete(state.holder);
  }

  function look() {
    for (const state of [...kept.values()]) if (!state.holder.isConnected) drop(state);
    for (const figure of document.querySelectorAll("[data-chart]")) {
      const holder = figure.querySelector(".plot"), told = figure.dataset.chart;
      if (!holder) continue;
      const state = kept.get(holder);
      if (!state) build(figure, holder, told);
      else if (state.told !== told) update(state, figure, told);
    }
  }

  // A figure inside a fold has no width until it is opened.
  const watcher = new ResizeObserver((entries) => {
    for (const entry of entries) {
      const holder = entry.target.querySelector(".plot"), state = holder && kept.get(holder);
      if (!state) { look(); continue; }
      const size = sizes(entry.target, state.chart);
      if (size.width && (size.width !== state.plot.width || size.height !== state.plot.height)) {
        const told = state.told;
        drop(state);
        build(entry.target, holder, told);
      }
    }
  });
  const watch = () => document.querySelectorAll("[data-chart]").forEach((figure) => watcher.observe(figure));

  document.addEventListener("keydown", (event) => {
    const state = kept.get(event.target);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!state || (!step && event.key !== "Escape")) return;
    event.preventDefault();
    const { plot } = state, last = plot.data[0].length - 1;
    if (!step) { plot.setCursor({ left: -10, top: -10 }); return; }
    const at = Math.max(0, Math.min(last, (plot.cursor.idx ?? (step > 0 ? -1 : last + 1)) + step));
    plot.setCursor({ left: plot.valToPos(plot.data[0][at], "x"), top: 10 });
  });

  const redraw = () => kept.forEach((state) => state.plot.redraw(false, true));
  new MutationObserver(redraw).observe(root, { attributes: true, attributeFilter: ["data-theme", "data-zone"] });
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  document.addEventListener("htmx:after:settle", () => { look(); watch(); });
  document.addEventListener("htmx:after:swap", () => { look(); watch(); });
  document.fonts?.ready.then(redraw);

  // A page whose own reading is old asks for its parts again; the server asks a worker, and the bump brings the news.
  const every = Number(document.body.dataset.refresh || 0);
  if (every) setInterval(() => { if (!document.hidden) document.body.dispatchEvent(new Event("bump")); }, every * 1000);
  look();
  watch();
})();
