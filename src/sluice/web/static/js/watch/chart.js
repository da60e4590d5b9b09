// A chart over time, with its legend, a sentence that says the same, and a table. uPlot is loaded
// with the first one. Colours come from the tokens; lines differ by their dashes too.
import { h, render } from "../core/dom.js";
import { clockTime, dateTime, number, onLanguage, t } from "../core/i18n.js";
import uPlot from "../../vendor/uplot/uplot.js";

const HEIGHT = 200;
const ROWS_MAX = 60;
const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 500_000, 1_000_000];
const DASHES = { solid: [], dashed: [7, 4], dotted: [2, 3] };

/** The styles of these pages: loaded with them, and with nothing else. */
export function styles() {
  for (const file of ["../../vendor/uplot/uplot.css", "../../css/watch.css"]) {
    const href = new URL(file, import.meta.url).href;
    if (!document.querySelector(`link[href="${href}"]`)) document.head.append(h("link", { rel: "stylesheet", href }));
  }
}

const colour = (name) => {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};

/** `series`: [{label(), colour: "--good", line: "solid"|"dashed"|"dotted", fill}], `label()` since the
 * language may change; `unit()` follows each figure; `at(x)` is a point's name (default: its time).
 * Answers {node, show(x, ys, {from, to}), close()}; x are Unix seconds (or any number with `at`). */
export function chart({ title, series, unit = () => "", at = null, whole = false }) {
  const box = h("div", { class: "chart-plot", role: "img" });
  const rest = h("div", { class: "stack-tight" });
  const node = h("figure", { class: "chart", "data-own": true }, h("figcaption", { class: "chart-head" }), box, rest);
  let plot = null;
  let theme = "";
  let held = { x: [], ys: series.map(() => []), from: 0, to: 0 };
  const name = (x, long = false) => (at ? at(x) : long ? dateTime(x * 1000) : clockTime(x * 1000, held.to - held.from < 3700));
  const said = (value) => (value === null || value === undefined ? "—" : `${number(value, { maximumFractionDigits: whole ? 0 : value < 10 ? 1 : 0 })}${unit() ? ` ${unit()}` : ""}`);

  /** A value between two that are missing is on no line: it needs a point to be seen. */
  const lonely = (y) => y.some((value, i) => value !== null && (y[i - 1] ?? null) === null && (y[i + 1] ?? null) === null);

  function make() {
    plot?.destroy();
    const ink = colour("--soft");
    const line = colour("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "12px system-ui, sans-serif" };
    plot = new uPlot({
      width: Math.max(200, box.clientWidth), height: HEIGHT, legend: { show: false }, padding: [8, 30, 0, 0],
      cursor: { drag: { x: false, y: false }, points: { size: 7 } },
      scales: { x: { time: false, range: (u, low, high) => (held.to > held.from ? [held.from, held.to] : [low, high === low ? low + 1 : high]) }, y: { range: (u, low, high) => [0, Math.max(1, high) * 1.08] } },
      axes: [{ ...axis, values: (u, ticks) => ticks.map((tick) => name(tick)), space: 84, incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 43_200, 86_400, 604_800] },
        { ...axis, size: 56, ...(whole ? { incrs: WHOLE } : {}), values: (u, ticks) => ticks.map((tick) => number(tick, { notation: tick >= 10000 ? "compact" : "standard", maximumFractionDigits: 1 })) }],
      series: [{}, ...series.map((each) => {
        const ink = colour(each.colour);
        return { stroke: ink, width: 2, dash: DASHES[each.line ?? "solid"], fill: each.fill ? ink.replace("rgb(", "rgba(").replace(")", ", 0.14)") : undefined, points: { show: (u, i) => u.data[0].length < 3 || lonely(u.data[i]), size: 5 } };
      })],
    }, [held.x, ...held.ys], box);
    theme = ink;
  }

  function words() {
    const most = held.ys.map((y) => y.reduce((max, value) => (value !== null && value > max ? value : max), 0));
    const last = held.ys.map((y) => [...y].reverse().find((value) => value !== null) ?? null);
    const sentence = series.map((each, i) => t("watch.chart_series", { label: each.label(), last: said(last[i]), most: said(most[i]) })).join(" ");
    box.setAttribute("aria-label", held.x.length ? t("watch.chart_said", { title: title(), series: sentence }) : `${title()}: ${t("watch.chart_empty")}`);
    render(node.firstElementChild, [h("h3", {}, title()),
      h("ul", { class: "chart-legend" }, series.map((each, i) => h("li", {},
        h("span", { class: `chart-key chart-${each.line ?? "solid"}`, style: { "--ink-of": `var(${each.colour})` }, "aria-hidden": "true" }),
        each.label(), " ", h("b", {}, said(last[i])))))]);
    const rows = tabled();
    const open = rest.querySelector("details")?.open ?? false;
    render(rest, !held.x.length ? h("p", { class: "soft small", key: "none" }, t("watch.chart_empty")) : h("details", { key: "rows", ontoggle: words },
      h("summary", {}, t("watch.as_table")),
      open || matchMedia("print").matches ? h("div", { class: "table-box chart-rows", tabindex: "0", role: "region", "aria-label": title() }, h("table", { class: "table" },
        h("caption", { class: "small" }, t("watch.table_note")),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("watch.time")), series.map((each) => h("th", { scope: "col", class: "number" }, each.label())))),
        h("tbody", {}, rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.from === row.to ? name(row.to) : `${name(row.from)} – ${name(row.to)}`), row.values.map((value) => h("td", { class: "number" }, said(value)))))))) : null));
  }

  /** The points in which anything happened, newest first; of more than sixty, the highest of several
   * that follow each other. */
  function tabled() {
    const some = held.x.map((x, i) => i).filter((i) => held.ys.some((y) => y[i]));
    const each = Math.max(1, Math.ceil(some.length / ROWS_MAX));
    const rows = [];
    for (let at = 0; at < some.length; at += each) {
      const part = some.slice(at, at + each);
      const highest = (y) => part.reduce((most, i) => (y[i] !== null && (most === null || y[i] > most) ? y[i] : most), null);
      rows.push({ from: held.x[part[0]], to: held.x[part.at(-1)], values: held.ys.map(highest) });
    }
    return rows.reverse();
  }

  function draw() {
    if (!node.isConnected || !box.clientWidth) return;
    if (!plot || theme !== colour("--soft")) make();
    else plot.setData([held.x, ...held.ys]);
    words();
  }

  const sized = new ResizeObserver(() => {
    if (!node.isConnected) return;
    if (plot) plot.setSize({ width: Math.max(200, box.clientWidth), height: HEIGHT });
    else draw();
  });
  sized.observe(box);
  const stops = [onLanguage(() => { make(); words(); })];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", draw);
  return {
    node,
    show(x, ys, { from = x[0] ?? 0, to = x.at(-1) ?? 0 } = {}) { held = { x, ys, from, to }; draw(); },
    open() { const all = node.querySelector("details"); if (all) all.open = true; words(); },
    close() { sized.disconnect(); dark.removeEventListener("change", draw); for (const stop of stops) stop(); plot?.destroy(); plot = null; },
  };
}

/** A chart's place in a tree: `place("a", chart)`; `settle(root)` puts them there after a render. */
const kept = new Map();
export function place(name, made) {
  kept.set(name, made.node);
  return h("div", { key: `chart-${name}`, "data-own": true, "data-chart": name, class: "chart-place" });
}
export function settle(root) {
  for (const spot of root.querySelectorAll("[data-chart]")) {
    const node = kept.get(spot.dataset.chart);
    if (node && node.parentNode !== spot) spot.replaceChildren(node);
  }
}
export function unsettle(...names) { for (const name of names) kept.delete(name); }
