// The one place that knows uPlot. Charts of a page share their crosshair; each has a table behind it for screen readers.
//
// <div class="chart" data-chart='{"series":[{"label":"processed","colour":"--green"}], "stacked":true, "unit":"/s"}'
//      data-points='[[seconds…],[values…],…]'></div>
// A null among the values is a gap, and is drawn as one.
import { clock } from "./time.js";

const charts = new Map();
const read = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

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

function stack(points) {
  const sums = points[0].map(() => 0);
  return [points[0], ...points.slice(1).map((values) => values.map((value, i) => (value === null ? null : (sums[i] += value))))];
}

const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

function options(element, wanted) {
  const line = colour("--line");
  const text = colour("--muted");
  const unit = wanted.unit || "";
  return {
    width: Math.max(160, element.clientWidth),
    height: element.clientHeight || 220,
    cursor: { sync: { key: "page" }, drag: { x: false, y: false }, points: { size: 5 } },
    legend: { show: false },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
    axes: [
      { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line }, font: `11px ${read("--font")}`, values: (_, ticks) => ticks.map((t) => clock(t * 1000).slice(0, 5)) },
      { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: `11px ${read("--font")}`, size: 52, values: (_, ticks) => ticks.map((t) => `${compact.format(t)}${unit}`) },
    ],
    series: [{}, ...wanted.series.map((one) => {
      const stroke = colour(one.colour);
      return { label: one.label, stroke, width: 1.5, spanGaps: false, points: { show: false }, fill: wanted.stacked ? stroke.replace(/\)$/, " / 0.25)").replace("rgb(", "rgba(") : undefined };
    })],
    hooks: { setCursor: [(plot) => label(element, plot, wanted)] },
  };
}

function label(element, plot, wanted) {
  const labels = element.parentElement?.querySelectorAll("[data-chart-value]");
  if (!labels?.length) return;
  const points = charts.get(element)?.points;
  const at = plot.cursor.idx ?? (points ? points[0].length - 1 : null);
  const time = element.parentElement.querySelector("[data-chart-time]");
  if (time) time.textContent = at === null || !points?.[0].length ? "" : clock(points[0][at] * 1000);
  labels.forEach((one, i) => {
    const value = at === null ? null : points?.[i + 1]?.[at];
    one.textContent = value === null || value === undefined ? "–" : `${compact.format(value)}${wanted.unit || ""}`;
  });
}

function draw(element) {
  const wanted = JSON.parse(element.dataset.chart);
  const points = JSON.parse(element.dataset.points || "[[]]");
  charts.get(element)?.plot.destroy();
  if (!window.uPlot) return;
  // Areas that are drawn later lie on top: the sums, largest first.
  const shown = wanted.stacked ? stack(points) : points;
  const order = wanted.stacked ? [...wanted.series.keys()].reverse() : [...wanted.series.keys()];
  const arranged = { ...wanted, series: order.map((i) => wanted.series[i]) };
  const plot = new window.uPlot(options(element, arranged), [shown[0], ...order.map((i) => shown[i + 1])], element);
  charts.set(element, { plot, points, order });
  plot.root.setAttribute("aria-hidden", "true");
  label(element, plot, wanted);
}

/** Replace the points of a chart in place, without a flicker. */
export function update(element, points) {
  element.dataset.points = JSON.stringify(points);
  const chart = charts.get(element);
  if (!chart) return draw(element);
  const wanted = JSON.parse(element.dataset.chart);
  chart.points = points;
  const shown = wanted.stacked ? stack(points) : points;
  chart.plot.setData([shown[0], ...chart.order.map((i) => shown[i + 1])]);
  label(element, chart.plot, wanted);
}

export function drawAll(root = document) {
  for (const element of root.querySelectorAll("[data-chart]")) if (!charts.has(element)) draw(element);
  for (const element of charts.keys()) if (!element.isConnected) { charts.get(element).plot.destroy(); charts.delete(element); }
}

const resized = new ResizeObserver((entries) => {
  for (const { target } of entries) charts.get(target)?.plot.setSize({ width: Math.max(160, target.clientWidth), height: target.clientHeight || 220 });
});
drawAll();
for (const element of document.querySelectorAll("[data-chart]")) resized.observe(element);
document.addEventListener("theme:changed", () => { for (const element of [...charts.keys()]) draw(element); });
document.addEventListener("htmx:oobAfterSwap", () => drawAll());
document.addEventListener("live:data", (event) => {
  for (const [id, points] of Object.entries(event.detail.data?.charts || {})) {
    const element = document.getElementById(id);
    if (element) update(element, points);
  }
});
