// What came of a sale: the rush, who was refused and why, who paid, whether it was fair, the money,
// and whether the books add up. Made to be printed as well.
import "./words.js";
import "../components/live.js";
import { badge, button, card, empty, explain, failure, figure, loading, notice, table, toast } from "../components/basic.js";
import { title } from "../components/frame.js";
import * as api from "../core/api.js";
import { h, render } from "../core/dom.js";
import { clockTime, dateTime, number, onLanguage, span, t } from "../core/i18n.js";
import { money } from "../core/money.js";
import { chart, place, settle, styles, unsettle } from "./chart.js";
import { compact, funnel, head, invariant, light, refusals, refusedEntry } from "./parts.js";

const POINTS_MAX = 2000;

export default function mount(root, { params }) {
  const id = params.id;
  const path = `/v1/admin/sales/${id}/report`;
  const state = { found: null, error: null, busy: false, saving: false };
  const ended = new AbortController();
  const stamp = (x) => after(x);
  const charts = {
    rush: chart({ title: () => t("watch.chart_rush"), at: stamp, whole: true, series: [
      { label: () => t("watch.attempts"), colour: "--soft", line: "dotted" }, { label: () => t("watch.accepted"), colour: "--good", fill: true }, { label: () => t("watch.refused"), colour: "--bad", line: "dashed" }] }),
    times: chart({ title: () => t("watch.chart_rush_latency"), at: stamp, unit: () => t("watch.ms"), series: [
      { label: () => "p50", colour: "--accent" }, { label: () => "p99", colour: "--warn", line: "dashed" }] }),
    paid: chart({ title: () => t("watch.chart_paid"), at: stamp, whole: true, series: [
      { label: () => t("watch.accepted"), colour: "--accent" }, { label: () => t("watch.step_paid"), colour: "--good", fill: true, line: "dashed" }] }),
  };
  styles();
  render(root, loading());

  async function look() {
    state.busy = true;
    if (state.found) draw();
    try {
      state.found = await api.get(path, { signal: ended.signal, timeoutMs: 60_000, withinMs: 90_000 });
      state.error = null;
    } catch (error) {
      if (ended.signal.aborted) return;
      state.error = error;
    }
    state.busy = false;
    if (!ended.signal.aborted) draw();
  }

  function draw() {
    const { found, error } = state;
    const barred = error && refusedEntry(error, look);
    if (barred || (!found && error)) { render(root, h("div", { class: "stack" }, h("h1", {}, t("watch.report")), barred ?? failure(error, look))); return; }
    if (!found) { render(root, loading()); return; }
    title(`${t("watch.report")} · ${found.sale.title}`);
    const none = found.status === "not_started" || found.status === "empty";
    render(root, h("div", { class: "stack-loose report" },
      h("div", { class: "stack", key: "top" },
        head(found.sale, "report", h("div", { class: "row no-print" },
          button(t("watch.refresh"), { busy: state.busy, onclick: look }),
          button(t("watch.csv"), { busy: state.saving, onclick: save }),
          button(t("watch.print"), { onclick: () => print() }))),
        h("p", { class: "small soft" }, t("watch.reported", { at: `${dateTime(found.at)}` })),
        error ? notice("bad", t("core.failed_title"), explain(error), { role: "alert" }) : null,
        found.status === "running" ? notice("accent", t("watch.preliminary"), t("watch.preliminary_text")) : null),
      none ? empty(t(`watch.${found.status}_title`), t(`watch.${found.status}_text`)) : whole(found)));
    settle(root);
    if (!none) drawCharts(found);
  }

  const section = (name, heading, ...children) => h("section", { class: "report-section", key: name, id: `part-${name}` }, h("h2", {}, heading), children);

  function whole(found) {
    return [
      section("summary", t("watch.summary"), summary(found)),
      found.audit ? h("div", { class: "watch-top", key: "light" }, light({ ...found.audit, broken: found.audit.invariants.filter((each) => !each.ok), checked: found.audit.invariants.length }, false)) : null,
      section("rush", t("watch.rush"),
        h("p", { class: "small soft" }, t("watch.rush_note", { step: span(found.timeline.step_seconds) })),
        h("div", { class: "watch-charts" }, place("rush", charts.rush), place("times", charts.times), place("paid", charts.paid))),
      section("items", t("watch.by_item"), items(found)),
      section("refused", t("watch.refused_title"), refusals(t("watch.refused_title"), found.refused, t("watch.refused_none"))),
      section("funnel", t("watch.funnel"), funnel(found.funnel, found.funnel.asked)),
      section("fair", t("watch.fair"), fair(found.fairness)),
      section("returns", t("watch.returns"), returns(found)),
      section("money", t("watch.money"), takings(found.money)),
      found.audit ? section("audit", t("watch.audit"), audit(found.audit)) : null,
      found.notes.length ? section("unknown", t("watch.unknown_title"), h("ul", { class: "rules" }, found.notes.map((note) =>
        h("li", {}, t(`watch.note_${note}`, { seen: number(found.coverage.accepted_seen), accepted: number(found.coverage.accepted), lost: number(found.coverage.lost) }))))) : null,
    ];
  }

  function summary(found) {
    const stock = found.items.reduce((sum, item) => sum + item.stock, 0);
    const paid = found.items.reduce((sum, item) => sum + item.paid, 0);
    const gone = found.items.map((item) => item.sold_out_after_ms);
    const refused = found.refused.reduce((sum, row) => sum + row.passes + row.purchases, 0);
    const currencies = [...new Set(found.money.map((row) => row.currency))];
    const net = currencies.length === 1 && found.money.length === 1 ? money(found.money[0].net) : found.money.length ? t("watch.several") : null;
    const p99 = found.traffic.latency_ms.p99;
    return card({ class: "report-figures" },
      figure(t("watch.sold"), number(paid), { note: t("watch.of_stock", { stock: number(stock) }) }),
      figure(t("watch.first_gone"), gone.length && gone.every((ms) => ms !== null) ? length(Math.max(...gone)) : "—", { note: gone.every((ms) => ms !== null) ? null : t("watch.never_gone") }),
      figure(t("watch.asked"), number(found.funnel.asked)),
      figure(t("watch.refused"), number(refused)),
      figure(t("watch.p99"), p99 === null ? null : number(p99, { maximumFractionDigits: p99 < 10 ? 1 : 0 }), { unit: p99 === null ? null : t("watch.ms") }),
      figure(t("watch.net"), net, { note: found.money.length ? null : t("watch.money_none") }));
  }

  const items = (found) => table(t("watch.by_item"), [
    { label: t("watch.item"), header: true, cell: (row) => row.title },
    { label: t("watch.stock_word"), number: true, cell: (row) => number(row.stock) },
    { label: t("watch.paid_units"), number: true, cell: (row) => number(row.paid) },
    { label: t("watch.part_awaiting_payment"), number: true, cell: (row) => number(row.awaiting_payment) },
    { label: t("watch.left"), number: true, cell: (row) => number(row.available) },
    { label: t("watch.orders"), number: true, cell: (row) => number(row.orders) },
    { label: t("watch.gone_after"), number: true, cell: (row) => (row.sold_out_after_ms === null ? t("watch.never_gone") : length(row.sold_out_after_ms)) },
  ], found.items, { key: (row) => row.id });

  function fair(found) {
    const wrong = found.recorded_out_of_order;
    return [
      h("p", { class: "strong" }, wrong ? [badge(t("watch.refused"), "bad"), " "] : null, wrong ? t("watch.fair_no", { n: number(wrong) }) : t("watch.fair_yes", { n: number(found.orders) })),
      h("p", { class: "soft" }, t("watch.fair_text")),
      compact("tenths", table(t("watch.fair"), [
        { label: t("watch.tenth"), header: true, cell: (row) => number(row.tenth) },
        { label: t("watch.orders"), number: true, cell: (row) => number(row.orders) },
        { label: t("watch.accepted_at"), number: true, cell: (row) => (row.first_at === row.last_at ? clockTime(row.first_at, true) : `${clockTime(row.first_at, true)} – ${clockTime(row.last_at, true)}`) },
        { label: t("watch.recorded_mean"), number: true, cell: (row) => length(row.recorded_after_ms.mean) },
        { label: t("watch.recorded_max"), number: true, cell: (row) => length(row.recorded_after_ms.max) },
        { label: t("watch.paid_share"), number: true, cell: (row) => number(row.paid / Math.max(1, row.orders), { style: "percent", maximumFractionDigits: 0 }) },
      ], found.tenths, { cards: false, key: (row) => String(row.tenth) })),
    ];
  }

  function returns(found) {
    const line = found.waitlist;
    return [
      table(t("watch.returns"), [
        { label: t("watch.why_back"), header: true, cell: (row) => back(row.reason) },
        { label: t("watch.orders"), number: true, cell: (row) => number(row.orders) },
        { label: t("watch.units"), number: true, cell: (row) => number(row.units) },
      ], found.returns, { key: (row) => row.reason, none: h("p", { class: "soft", key: "no-returns" }, t("watch.returns_none")) }),
      h("p", { key: "line" }, line.joined ? t("watch.line", { joined: number(line.joined), promoted: number(line.promoted), left: number(line.left), closed: number(line.closed + line.waiting) }) : t("watch.line_none")),
      line.promoted_after_ms.mean === null ? null : h("p", { class: "soft", key: "waited" }, t("watch.line_wait", { mean: length(line.promoted_after_ms.mean), max: length(line.promoted_after_ms.max) })),
    ];
  }
  const back = (why) => { const word = t(`watch.back_${why}`); return word === `watch.back_${why}` ? t("watch.back_rejected") : word; };

  const takings = (rows) => table(t("watch.money"), [
    { label: t("watch.provider"), header: true, cell: (row) => row.provider },
    { label: t("watch.captured"), number: true, cell: (row) => money(row.captured) },
    { label: t("watch.refunded"), number: true, cell: (row) => money(row.refunded) },
    { label: t("watch.net_word"), number: true, cell: (row) => h("b", {}, money(row.net)) },
    { label: t("watch.owed"), number: true, cell: (row) => money(row.to_be_refunded) },
    { label: t("watch.failed"), number: true, cell: (row) => (row.failed_refunds.count ? badge(`${number(row.failed_refunds.count)} · ${money(row.failed_refunds.amount)}`, "bad") : "0") },
  ], rows, { key: (row) => `${row.provider} ${row.currency}`, none: h("p", { class: "soft", key: "no-money" }, t("watch.money_none")) });

  const audit = (found) => [
    h("p", { class: "small soft" }, t("watch.audit_at", { at: clockTime(found.checked_at, true), took: number(found.took_ms) })),
    compact("audit", table(t("watch.audit"), [
      { label: t("watch.invariant"), header: true, cell: (row) => [invariant(row.name), row.detail ? h("span", { class: "audit-detail" }, row.detail) : null] },
      { label: t("watch.found"), cell: (row) => badge(t(row.ok ? "watch.holds" : "watch.does_not_hold"), row.ok ? "good" : "bad") },
    ], found.invariants, { cards: false, key: (row) => row.name })),
  ];

  function drawCharts(found) {
    const points = found.timeline.points.slice(0, POINTS_MAX);
    const step = found.timeline.step_seconds;
    // Steps in which nothing happened are zero, as long as they are few; else only what happened.
    const x = [];
    const rows = [];
    points.forEach((point, i) => {
      const at = point.after_s;
      const before = i ? points[i - 1].after_s : at;
      if (at - before > step) for (const gap of at - before > 40 * step ? [before + step, at - step] : range(before + step, at, step)) { x.push(gap); rows.push(null); }
      x.push(at);
      rows.push(point);
    });
    const of = (pick, idle = 0) => rows.map((row) => (row ? pick(row) : idle));
    charts.rush.show(x, [of((p) => p.purchases_asked), of((p) => p.accepted), of((p) => p.refused)]);
    charts.times.show(x, [of((p) => p.p50_ms, null), of((p) => p.p99_ms, null)]);
    charts.paid.show(x, [of((p) => p.accepted), of((p) => p.paid)]);
  }

  /** "+1:05" after the start; hours where it is long. */
  function after(seconds) {
    const s = Math.abs(seconds);
    const two = (n) => String(n).padStart(2, "0");
    const sign = seconds < 0 ? "−" : "+";
    return s < 3600 ? `${sign}${Math.floor(s / 60)}:${two(Math.floor(s % 60))}` : `${sign}${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(Math.floor(s % 60))}`;
  }
  const length = (ms) => (ms < 90_000 ? (ms < 1000 ? t("watch.duration_ms", { n: number(ms) }) : number(ms / 1000, { style: "unit", unit: "second", unitDisplay: "short", maximumFractionDigits: ms < 10_000 ? 1 : 0 })) : span(ms / 1000));

  async function save() {
    state.saving = true;
    draw();
    try {
      const { text } = await api.request("GET", `${path}?format=csv`, { signal: ended.signal, whole: true, timeoutMs: 60_000, withinMs: 90_000, headers: { accept: "text/csv" } });
      // Reading took the mark off; a spreadsheet needs it to see UTF-8.
      const file = URL.createObjectURL(new Blob([`\ufeff${text.replace(/^\ufeff/, "")}`], { type: "text/csv" }));
      const link = h("a", { href: file, download: `report-${id}.csv`, hidden: true });
      document.body.append(link);
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(file), 10_000);
    } catch {
      if (!ended.signal.aborted) toast(t("watch.csv_failed"));
    }
    state.saving = false;
    if (!ended.signal.aborted) draw();
  }

  const stop = onLanguage(draw);
  look();
  return () => {
    ended.abort(new Error("left"));
    stop();
    for (const each of Object.values(charts)) each.close();
    unsettle("rush", "times", "paid");
  };
}

function range(from, to, step) {
  const found = [];
  for (let at = from; at < to && found.length < 200; at += step) found.push(at);
  return found;
}
