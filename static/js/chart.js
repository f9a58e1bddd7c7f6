// The one place that knows uPlot. Charts of a page share their crosshair; each has a table behind it for screen readers.
//
// <div class="chart" id="…" data-chart='{"series":[{"label":"processed","colour":"--green"}], "stacked":true, "unit":"/s"}'
//      data-points='[[seconds…],[values…],…]'></div>
// A null among the values is a gap, and is drawn as one. `kind` says how values are written: "" numbers, "seconds" or "ms".
// New points come with live:data as {"charts": {"<id>": points}} or, when its lines may
// change, {"charts": {"<id>": {"points": …, "series": …}}}; they take the place of the old
// ones without a flicker.
import { clock, duration, exact } from "./time.js";

const charts = new Map(); // element → {plot, points, order, wanted}
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const precise = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const TABLE_ROWS = 24;

function colour(name) {
  // Canvas knows no light-dark(): an element resolves it.
  const probe = document.createElement("span");
  probe.className = "visually-hidden";
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function faint(stroke) {
  return stroke.startsWith("rgb(") ? stroke.replace("rgb(", "rgba(").replace(/\)$/, ", 0.25)") : stroke.replace(/\)$/, " / 0.25)");
}

// Sums from below; where nothing at all is known there is a gap, one missing part among others counts as none.
function stack(points) {
  const columns = points.slice(1);
  const sums = points[0].map((_, i) => (columns.some((values) => values[i] !== null) ? 0 : null));
  return [points[0], ...columns.map((values) => values.map((value, i) => (sums[i] === null ? null : (sums[i] += value ?? 0))))];
}

function said(value, wanted, format = compact) {
  if (value === null || value === undefined) return "–";
  if (wanted.kind === "ms") return value < 10 ? `${tenths.format(value)} ms` : duration(value / 1000);
  if (wanted.kind === "seconds") return duration(value);
  return `${format.format(value)}${wanted.unit || ""}`;
}

function tick(value, wanted) {
  if (value === 0) return "0";
  return said(value, wanted).replace(" ", "\u00a0");
}

function hour(seconds) {
  return clock(seconds * 1000).slice(0, 5);
}

function height(element) {
  return element.clientHeight || 220;
}

function width(element) {
  return Math.max(160, element.clientWidth);
}

function options(element, wanted) {
  const line = colour("--line");
  const text = colour("--muted");
  const font = `11px ${getComputedStyle(document.body).fontFamily}`;
  const grid = { stroke: line, width: 1 };
  return {
    width: width(element),
    height: height(element),
    padding: [8, 18, 0, 0],
    cursor: { sync: { key: "page", setSeries: false, scales: ["x", null] }, drag: { x: false, y: false }, points: { size: 5 }, y: false },
    legend: { show: false },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      { stroke: text, grid, ticks: { stroke: line, size: 4 }, font, space: 64, size: 28, values: (_, ticks) => ticks.map(hour) },
      { stroke: text, grid, ticks: { show: false }, font, gap: 4, size: wanted.kind ? 64 : 48, space: 36, values: (_, ticks) => ticks.map((value) => tick(value, wanted)) },
    ],
    series: [{}, ...wanted.series.map((one) => {
      const stroke = colour(one.colour);
      return { label: one.label, stroke, width: 1.5, spanGaps: false, points: { show: false, filter: alone, size: 4, fill: stroke }, fill: wanted.stacked ? faint(stroke) : undefined };
    })],
    // Between a sum and the next one below, so that colours don't mix.
    bands: wanted.stacked ? wanted.series.slice(1).map((_, i) => ({ series: [i + 1, i + 2] })) : [],
    hooks: { setCursor: [() => label(element)] },
  };
}

// A value between two gaps has no line: it gets a point.
function alone(plot, series) {
  const values = plot.data[series];
  const isKnown = (i) => values[i] !== null && values[i] !== undefined;
  const found = [...values.keys()].filter((i) => isKnown(i) && !isKnown(i - 1) && !isKnown(i + 1));
  return found.length ? found : null;
}

function label(element) {
  const chart = charts.get(element);
  const panel = element.closest(".chart-panel") || element.parentElement;
  const labels = panel?.querySelectorAll("[data-chart-value]");
  if (!chart || !labels?.length) return;
  const { points, wanted, plot } = chart;
  const isPointed = plot.cursor.idx !== null && plot.cursor.idx !== undefined && plot.cursor.left >= 0;
  const at = isPointed ? plot.cursor.idx : newest(points);
  const time = panel.querySelector("[data-chart-time]");
  if (time) {
    // The last point of a chart that isn't kept up says when it was.
    const isOld = at !== null && Date.now() / 1000 - points[0][at] > 60 + 2 * (wanted.bucket || 0);
    time.textContent = at === null ? "" : isPointed || isOld ? clock(points[0][at] * 1000) : "latest";
    time.title = at === null ? "" : exact(points[0][at] * 1000);
  }
  labels.forEach((one, i) => { one.textContent = said(at === null ? null : points[i + 1]?.[at], wanted); });
}

// The newest point of which something is known.
function newest(points) {
  for (let at = points[0].length - 1; at >= 0; at -= 1) {
    if (points.slice(1).some((values) => values[at] !== null && values[at] !== undefined)) return at;
  }
  return null;
}

function shape(points, wanted, order) {
  const shown = wanted.stacked ? stack(points) : points;
  return [shown[0], ...order.map((i) => shown[i + 1])];
}

function draw(element) {
  const wanted = JSON.parse(element.dataset.chart);
  const points = JSON.parse(element.dataset.points || "[[]]");
  charts.get(element)?.plot.destroy();
  charts.delete(element);
  if (!window.uPlot) return;
  // Areas that are drawn later lie on top: the sums, largest first.
  const order = wanted.stacked ? [...wanted.series.keys()].reverse() : [...wanted.series.keys()];
  const arranged = { ...wanted, series: order.map((i) => wanted.series[i]) };
  const plot = new window.uPlot(options(element, arranged), shape(points, wanted, order), element);
  charts.set(element, { plot, points, order, wanted });
  plot.root.setAttribute("aria-hidden", "true");
  emptiness(element, points);
  label(element);
}

function emptiness(element, points) {
  const words = element.querySelector(".chart-empty");
  if (words) words.hidden = newest(points) !== null;
}

/** Replace the points of a chart in place, without a flicker. With `series` its lines are others than before. */
export function update(element, points, series = null) {
  element.dataset.points = JSON.stringify(points);
  const chart = charts.get(element);
  if (series && JSON.stringify(series) !== JSON.stringify(JSON.parse(element.dataset.chart).series)) {
    element.dataset.chart = JSON.stringify({ ...JSON.parse(element.dataset.chart), series });
    legend(element, series);
    return draw(element);
  }
  if (!chart) return draw(element);
  // Never a line under another one's name.
  if (points.length !== chart.wanted.series.length + 1) return undefined;
  chart.points = points;
  chart.plot.setData(shape(points, chart.wanted, chart.order));
  emptiness(element, points);
  label(element);
  const details = element.closest(".chart-panel")?.querySelector("details.chart-table");
  if (details?.open) table(element);
  return undefined;
}

function legend(element, series) {
  const panel = element.closest(".chart-panel");
  const list = panel?.querySelector(".chart-labels");
  list?.replaceChildren(...series.map((one) => {
    const item = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = `swatch ${one.colour.slice(2)}`;
    const name = document.createElement("span");
    name.className = "foreign";
    name.textContent = one.label;
    const value = document.createElement("b");
    value.dataset.chartValue = "";
    item.append(swatch, name, value);
    return item;
  }));
  const heads = panel?.querySelector("details.chart-table thead tr");
  heads?.replaceChildren(...["time", ...series.map((one) => one.label)].map((text, i) => {
    const head = document.createElement("th");
    head.scope = "col";
    if (i) head.className = "number";
    head.textContent = text;
    return head;
  }));
}

// The table behind a chart, anew from its points; text only.
function table(element) {
  const chart = charts.get(element);
  const body = element.closest(".chart-panel")?.querySelector("details.chart-table tbody");
  if (!chart || !body) return;
  const { points, wanted } = chart;
  const every = Math.max(1, Math.ceil(points[0].length / TABLE_ROWS));
  const rows = [];
  for (let at = points[0].length - 1; at >= 0; at -= every) {
    const row = document.createElement("tr");
    const cells = [clock(points[0][at] * 1000), ...points.slice(1).map((values) => said(values[at], wanted, precise))];
    cells.forEach((text, i) => {
      const cell = document.createElement("td");
      if (i) cell.className = "number";
      cell.textContent = text;
      row.append(cell);
    });
    rows.push(row);
  }
  body.replaceChildren(...rows);
}

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = charts.get(target)?.plot;
    if (plot && (plot.width !== width(target) || plot.height !== height(target))) plot.setSize({ width: width(target), height: height(target) });
  }
});

export function drawAll(root = document) {
  for (const element of [...charts.keys()]) if (!element.isConnected) { charts.get(element).plot.destroy(); charts.delete(element); resized.unobserve(element); }
  for (const element of root.querySelectorAll("[data-chart]")) if (!charts.has(element)) { draw(element); resized.observe(element); }
}

drawAll();
document.addEventListener("theme:changed", () => { for (const element of [...charts.keys()]) draw(element); });
document.addEventListener("live:placed", () => drawAll());
document.addEventListener("toggle", (event) => {
  if (event.target.open && event.target.matches?.("details.chart-table")) {
    const element = event.target.closest(".chart-panel")?.querySelector("[data-chart]");
    if (element) table(element);
  }
}, true);
document.addEventListener("live:data", (event) => {
  for (const [id, sent] of Object.entries(event.detail.data?.charts || {})) {
    const element = document.getElementById(id);
    if (!element) continue;
    if (Array.isArray(sent)) update(element, sent);
    else update(element, sent.points, sent.series);
  }
});
