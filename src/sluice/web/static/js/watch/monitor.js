// A running sale, looked at every two seconds: what is left, whether the books add up, what people
// ask for and what they are told, and the few commands that a merchant needs then.
import "./words.js";
import "../components/live.js";
import { bar, button, card, confirm, dialog, explain, failure, field, figure, loading, notice, toast } from "../components/basic.js";
import { title } from "../components/frame.js";
import * as api from "../core/api.js";
import * as clock from "../core/clock.js";
import { announce, h, render } from "../core/dom.js";
import { clockTime, has, number, onLanguage, t } from "../core/i18n.js";
import { chart, place, settle, styles, unsettle } from "./chart.js";
import { funnel, head, light, reason, refusals, refusedEntry } from "./parts.js";

const LOOK_MS = 2000;
const HIDDEN_MS = 10_000;
const TICKS_MS = 4000;
const STALE_S = 10;
const WINDOWS = [300, 900, 3600];
const SECONDS_MAX = 3700;
const SAMPLES_MAX = 1900;
const PAGES_MAX = 6;

export default function mount(root, { params }) {
  const id = params.id;
  const path = `/v1/admin/sales/${id}`;
  const state = { live: null, error: null, seenAt: 0, windowS: 300, ticksFailed: false, busy: false };
  /** Unix second → [accepted, refused, asked, p50, p99]: no more than the longest window. */
  const seconds = new Map();
  /** [Unix second, backlog, queued, waiting, inside]: from our own looks. */
  const samples = [];
  const ended = new AbortController();
  const timers = new Set();
  const charts = {
    purchases: chart({ title: () => t("watch.chart_purchases"), series: [
      { label: () => t("watch.accepted"), colour: "--good", fill: true }, { label: () => t("watch.refused"), colour: "--bad", line: "dashed" }] }),
    latency: chart({ title: () => t("watch.chart_latency"), unit: () => t("watch.ms"), series: [
      { label: () => "p50", colour: "--accent" }, { label: () => "p99", colour: "--warn", line: "dashed" }] }),
    backlog: chart({ title: () => t("watch.chart_backlog"), whole: true, series: [
      { label: () => t("watch.part_queued"), colour: "--accent", fill: true }, { label: () => t("watch.backlog"), colour: "--warn", line: "dotted" }] }),
    room: chart({ title: () => t("watch.chart_room"), whole: true, series: [
      { label: () => t("watch.room_waiting"), colour: "--warn", line: "dashed" }, { label: () => t("watch.room_active"), colour: "--accent", fill: true }] }),
  };
  styles();
  render(root, loading());

  // --- looking -------------------------------------------------------------------------------

  let next = null;
  let nextTicksAt = 0;
  let looking = false;

  function later(work, ms) {
    const timer = setTimeout(() => { timers.delete(timer); work(); }, ms);
    timers.add(timer);
  }

  /** One look at a time, and one timer: a retry by hand, or coming back to the tab, is no second loop. */
  async function look() {
    if (ended.signal.aborted || looking) return;
    looking = true;
    for (const timer of timers) clearTimeout(timer);
    timers.clear();
    const sent = performance.now();
    const before = state.live?.invariants.state;
    try {
      const found = await api.get(`${path}/live`, { signal: ended.signal, tries: 1 });
      if (ended.signal.aborted) return;
      clock.sample(found.at, sent, performance.now());
      state.live = found;
      state.error = null;
      state.seenAt = Date.parse(found.at);
      note(found);
      if (before && before !== found.invariants.state) announce(t(`watch.light_${found.invariants.state}`), found.invariants.state === "broken");
      if (Date.now() >= nextTicksAt) await lookBack();
    } catch (error) {
      if (ended.signal.aborted) return;
      if (!state.error && state.live) announce(t("watch.no_answer", { at: clockTime(state.seenAt, true) }));
      state.error = error;
    } finally {
      looking = false;
    }
    draw();
    if (state.error && [401, 403, 404].includes(state.error.status)) return;
    later(look, document.hidden ? HIDDEN_MS : LOOK_MS);
  }

  /** Ticks since the last look, a page after the other. */
  async function lookBack() {
    nextTicksAt = Date.now() + TICKS_MS;
    try {
      for (let page = 0; page < PAGES_MAX; page += 1) {
        const since = next ?? new Date(clock.now() - state.windowS * 1000).toISOString();
        const found = await api.get(`${path}/ticks?since=${encodeURIComponent(since)}`, { signal: ended.signal, tries: 1 });
        for (const tick of found.data) keep(tick);
        // The last seconds are still being counted: look at them once more.
        const late = new Date(Date.parse(found.at) - 15_000).toISOString();
        next = found.more ? found.next : [found.next ?? since, late].sort()[0];
        if (!found.more) break;
      }
      state.ticksFailed = false;
    } catch (error) {
      if (!ended.signal.aborted) state.ticksFailed = true;
    }
  }

  function keep(tick) {
    const at = Math.floor(Date.parse(tick.at) / 1000);
    const refused = Object.values(tick.purchases.refused).reduce((sum, n) => sum + n, 0);
    const each = tick.seconds;
    seconds.set(at, [tick.purchases.accepted / each, refused / each, tick.purchases.asked / each, tick.latency_ms.p50, tick.latency_ms.p99]);
    const oldest = Math.floor(clock.now() / 1000) - SECONDS_MAX;
    if (seconds.size > SECONDS_MAX) for (const key of seconds.keys()) if (key < oldest || seconds.size > SECONDS_MAX) seconds.delete(key); else break;
  }

  function note(found) {
    const queued = found.items.reduce((sum, item) => sum + item.queued, 0);
    samples.push([Math.floor(Date.parse(found.at) / 1000), found.recorder?.backlog ?? null, queued, found.waiting_room?.waiting ?? null, found.waiting_room?.active ?? null]);
    if (samples.length > SAMPLES_MAX) samples.splice(0, samples.length - SAMPLES_MAX);
  }

  function drawCharts() {
    const to = Math.floor(clock.now() / 1000) - 4;
    const from = to - state.windowS;
    const x = [];
    const ys = [[], [], [], []];
    const some = [...seconds.keys()].some((at) => at >= from);
    if (some) for (let at = from; at <= to; at += 1) {
      const [accepted, refused, , p50, p99] = seconds.get(at) ?? [0, 0, 0, null, null];
      x.push(at);
      [accepted, refused, p50, p99].forEach((value, i) => ys[i].push(value));
    }
    charts.purchases.show(x, ys.slice(0, 2), { from, to });
    charts.latency.show(x, ys.slice(2), { from, to });
    const mine = samples.filter(([at]) => at >= from);
    charts.backlog.show(mine.map(([at]) => at), [mine.map((each) => each[2]), mine.map((each) => each[1])], { from, to: to + 4 });
    if (state.live.waiting_room) charts.room.show(mine.map(([at]) => at), [mine.map((each) => each[3]), mine.map((each) => each[4])], { from, to: to + 4 });
  }

  // --- showing -------------------------------------------------------------------------------

  function draw() {
    const { live, error } = state;
    const barred = error && refusedEntry(error, look);
    if (barred) { render(root, h("div", { class: "stack" }, h("h1", {}, t("watch.monitor")), barred)); return; }
    if (!live) { render(root, error ? h("div", { class: "stack" }, h("h1", {}, t("watch.monitor")), failure(error, look)) : loading()); return; }
    title(`${t("watch.monitor")} · ${live.sale.title}`);
    const stale = Boolean(error) || clock.now() - state.seenAt > STALE_S * 1000;
    render(root, h("div", { class: `stack-loose watch${stale ? " watch-stale" : ""}` },
      h("div", { class: "stack", key: "top" },
        head(live.sale, "monitor", h("span", { class: "small soft" }, t("watch.seen", { at: clockTime(live.at, true) }), " ", h("sl-age", { at: live.at, stale: String(STALE_S) }))),
        live.sale.state === "paused" ? notice("warn", t("watch.state_paused"), t("watch.paused_because", { reason: live.sale.pause_reason ?? "—" })) : null,
        stale ? notice("bad", t("watch.no_answer", { at: clockTime(state.seenAt, true) }), [h("p", {}, t("watch.no_answer_text")), error ? h("p", { class: "small" }, explain(error)) : null]) : null,
        commands(live)),
      h("div", { class: "watch-top", key: "light" }, light(stale && live.invariants.state === "ok" ? { ...live.invariants, state: "unknown", unknown: [] } : live.invariants, true), room(live)),
      stock(live),
      now(live, stale),
      h("div", { class: "watch-two", key: "why" }, why(live), paying(live)),
      h("section", { class: "stack", key: "time", "aria-labelledby": "over-time" },
        h("div", { class: "row-between" }, h("h2", { id: "over-time" }, t("watch.over_time")), windows()),
        h("p", { class: "small soft" }, t(state.ticksFailed ? "watch.ticks_away" : "watch.ticks_late")),
        h("div", { class: "watch-charts" }, place("purchases", charts.purchases), place("latency", charts.latency), place("backlog", charts.backlog), live.waiting_room ? place("room", charts.room) : null))));
    settle(root);
    drawCharts();
  }

  const windows = () => h("div", { class: "row no-print", role: "group", "aria-label": t("watch.window") }, WINDOWS.map((each) =>
    h("button", { type: "button", class: "chip", key: String(each), "aria-pressed": String(each === state.windowS), onclick: () => choose(each) }, t(`watch.window_${each}`))));

  async function choose(windowS) {
    const wider = windowS > state.windowS;
    state.windowS = windowS;
    draw();
    if (wider) { next = null; seconds.clear(); await lookBack(); draw(); }
  }

  function stock(live) {
    return h("section", { class: "stack", key: "stock", "aria-labelledby": "stock" },
      h("div", { class: "row-between" }, h("h2", { id: "stock" }, t("watch.items")), live.ages.items === null ? h("p", { class: "small soft" }, t("watch.gate_away")) : null),
      h("div", { class: "watch-items" }, live.items.map((item) => card({ key: item.id, class: "watch-item" },
        h("h3", {}, item.title),
        h("p", { class: "watch-taken" }, t("watch.units_of", { n: number(item.stock - item.available), stock: number(item.stock) })),
        bar(item.title, ["available", "queued", "awaiting_payment", "paid", "returning"].map((name) => ({ name, label: t(`watch.part_${name}`), value: item[name] })), item.stock),
        h("div", { class: "row-between watch-line" }, h("p", { class: "small soft" }, item.waitlisted ? t("watch.waitlisted", { n: number(item.waitlisted) }) : t("watch.nobody_waits")),
          live.sale.state === "ended" ? null : button(t("watch.stock"), { kind: "plain", "aria-label": `${t("watch.stock")}: ${item.title}`, onclick: () => changeStock(item) }))))));
  }

  function now(live, stale) {
    const seen = live.traffic;
    const each = (n) => (seen ? number(n / seen.seconds, { maximumFractionDigits: n < 10 * seen.seconds ? 1 : 0 }) : null);
    const away = seen ? null : t("watch.away");
    const ms = (value) => (value === null ? null : number(value, { maximumFractionDigits: value < 10 ? 1 : 0 }));
    const refused = seen ? [seen.passes.refused, seen.purchases.refused].flatMap((group) => Object.values(group)).reduce((sum, n) => sum + n, 0) : 0;
    const rate = (word, n) => figure(t(`watch.${word}`), each(n), { unit: seen ? t("watch.per_second") : null, note: away, stale });
    const time = (word, value) => figure(t(`watch.${word}`), ms(value), { unit: value === null ? null : t("watch.ms"), note: away ?? (value === null ? t("watch.none_measured") : null), stale });
    return h("section", { class: "stack", key: "now", "aria-labelledby": "now" },
      h("div", { class: "row-between" }, h("h2", { id: "now" }, t("watch.now")), h("p", { class: "small soft" }, t("watch.now_note"), " ", live.ages.traffic === null ? null : h("sl-age", { at: new Date(Date.parse(live.at) - live.ages.traffic).toISOString(), stale: String(STALE_S) }))),
      card({ class: "watch-figures" },
        rate("views", seen?.views), rate("passes", seen?.passes.asked), rate("purchases", seen?.purchases.asked), rate("accepted", seen?.purchases.accepted), rate("refused", refused),
        time("p50", seen?.latency_ms.p50 ?? null), time("p99", seen?.latency_ms.p99 ?? null),
        figure(t("watch.backlog"), live.recorder ? number(live.recorder.backlog) : null, { unit: live.recorder ? t("watch.entries") : null, note: live.recorder ? null : t("watch.away"), stale })),
      seen?.lost ? notice("warn", t("watch.lost", { n: number(seen.lost) })) : null);
  }

  function why(live) {
    const { passes, purchases } = live.traffic ?? { passes: { refused: {} }, purchases: { refused: {} } };
    const codes = [...new Set([...Object.keys(passes.refused), ...Object.keys(purchases.refused)])];
    const rows = codes.map((code) => ({ reason: code, passes: passes.refused[code] ?? 0, purchases: purchases.refused[code] ?? 0 }))
      .sort((a, b) => b.passes + b.purchases - a.passes - a.purchases || reason(a.reason).localeCompare(reason(b.reason)));
    const per = (n) => `${number(n / (live.traffic?.seconds ?? 1), { maximumFractionDigits: 1 })} ${t("watch.per_second")}`;
    return h("section", { class: "stack", id: "part-why" }, h("h2", {}, t("watch.why")),
      live.traffic ? refusals(t("watch.why"), rows, t("watch.why_none"), per) : h("p", { class: "soft" }, t("watch.away")));
  }

  function paying(live) {
    const at = live.ages.funnel === null ? null : new Date(Date.parse(live.at) - live.ages.funnel).toISOString();
    return h("section", { class: "stack", id: "part-funnel" },
      h("div", { class: "row-between" }, h("h2", {}, t("watch.funnel")), at ? h("sl-age", { at, stale: "60" }) : null),
      live.funnel ? funnel(live.funnel) : h("p", { class: "soft" }, t("watch.away")));
  }

  function room(live) {
    const found = live.waiting_room;
    if (!found) return null;
    return card({ key: "room" }, h("div", { class: "row-between" }, h("h2", {}, t("watch.room")),
      // A room that only the load has opened has no pace of the merchant's, and one that is over needs none.
      found.mode === "load" || live.sale.state === "ended" ? null : button(t("watch.pace"), { onclick: changePace })),
      h("div", { class: "grid-small" }, ["waiting", "admitted", "active"].map((name) => figure(t(`watch.room_${name}`), number(found[name] ?? 0))),
        figure(t("watch.room_pace"), found.pace_per_second === null ? null : number(found.pace_per_second, { maximumFractionDigits: 1 }), { note: has(`watch.mode_${found.mode}`) ? t(`watch.mode_${found.mode}`) : found.mode }),
        figure(t("watch.room_wanted"), found.wanted_per_second === null ? null : number(found.wanted_per_second, { maximumFractionDigits: 1 }))));
  }

  // --- commands ------------------------------------------------------------------------------

  function commands(live) {
    const is = live.sale.state;
    if (is === "ended" || is === "draft") return null;
    return h("div", { class: "row no-print", role: "group", "aria-label": t("watch.do") },
      is === "paused" ? button(t("watch.resume"), { kind: "main", busy: state.busy, onclick: () => command("resume", {}, "watch.done_resumed") })
        : button(t("watch.pause"), { busy: state.busy, onclick: pause }),
      button(t("watch.close"), { kind: "danger", busy: state.busy, onclick: close }));
  }

  async function command(what, body, done, address = `${path}/${what}`) {
    state.busy = true;
    draw();
    try {
      await api.postOnce(address, body);
      toast(t(done));
      announce(t(done));
    } catch (error) {
      toast(explain(error));
    }
    state.busy = false;
    try { state.live = await api.get(`${path}/live`, { signal: ended.signal }); state.seenAt = Date.parse(state.live.at); } catch { /* the next look says it */ }
    if (!ended.signal.aborted) draw();
  }

  /** Ask for a form's fields; `read(form)` answers {value} or {errors: {name: text}}. */
  async function ask(heading, text, fields, yes, read, kind = "main") {
    let errors = {};
    let typed = {};
    let result = null;
    const body = h("form", { class: "stack", onsubmit: (event) => event.preventDefault() });
    const show = () => render(body, [text ? h("p", {}, text) : null, ...fields(errors, typed)]);
    show();
    const value = await dialog(heading, body, [{ label: t("core.back"), value: false }, { label: yes, value: true, kind }], {
      onvalue: (chosen) => {
        if (!chosen) return true;
        typed = Object.fromEntries(new FormData(body));
        const found = read(typed);
        if (found.errors) { errors = found.errors; show(); body.querySelector("[aria-invalid]")?.focus(); return false; }
        result = found.value;
        return true;
      },
    });
    return value ? result : null;
  }

  async function pause() {
    const body = await ask(t("watch.pause_title"), t("watch.pause_text"),
      (errors) => [field(t("watch.reason"), { name: "reason", hint: t("watch.reason_hint"), error: errors.reason, maxlength: 500, required: true, autocomplete: "off" })],
      t("watch.pause"), ({ reason: said }) => (said.trim() ? { value: { reason: said.trim() } } : { errors: { reason: t("watch.reason_missing") } }));
    if (body) await command("pause", body, "watch.done_paused");
  }

  async function close() {
    if (await confirm(t("watch.close_title"), t("watch.close_text"), t("watch.close_yes"))) await command("close", {}, "watch.done_closed");
  }

  async function changeStock(item) {
    const body = await ask(t("watch.stock_title", { item: item.title }), null,
      (errors) => [field(t("watch.delta"), { name: "delta", inputmode: "numeric", hint: t("watch.delta_hint", { stock: number(item.stock), free: number(item.available) }), error: errors.delta, autocomplete: "off" }),
        field(t("watch.stock_reason"), { name: "reason", hint: t("watch.stock_reason_hint"), error: errors.reason, maxlength: 500, autocomplete: "off" })],
      t("watch.stock"), ({ delta, reason: said }) => {
        const n = Number(delta.trim().replace("−", "-"));
        const errors = {};
        if (!delta.trim() || !Number.isInteger(n) || n === 0) errors.delta = t("watch.delta_missing");
        if (!said.trim()) errors.reason = t("watch.reason_missing");
        return Object.keys(errors).length ? { errors } : { value: { delta: n, reason: said.trim() } };
      });
    if (body) await command("stock", body, "watch.done_stock", `/v1/admin/items/${item.id}/stock`);
  }

  async function changePace() {
    // With the field empty, who only looks and presses the button would take the set pace away.
    let set = null;
    try {
      set = (await api.get(path, { signal: ended.signal, tries: 1 })).policy.waiting_room.admit_per_second;
    } catch (error) {
      if (!ended.signal.aborted) toast(explain(error));
      return;
    }
    if (ended.signal.aborted) return;
    const body = await ask(t("watch.pace_title"), null,
      (errors) => [field(t("watch.pace_per_second"), { name: "pace", value: set ?? "", inputmode: "decimal", hint: t("watch.pace_hint"), error: errors.pace, autocomplete: "off" })],
      t("watch.pace"), ({ pace }) => {
        if (!pace.trim()) return { value: { admit_per_second: null } };
        const n = Number(pace);
        return n > 0 ? { value: { admit_per_second: n } } : { errors: { pace: t("watch.pace_missing") } };
      });
    if (body) await command("pace", body, "watch.done_pace");
  }

  const shown = () => { if (!document.hidden) look(); };
  document.addEventListener("visibilitychange", shown);
  const stops = [onLanguage(draw), clock.onSecond(() => { if (state.live && clock.now() - state.seenAt > STALE_S * 1000 && !root.querySelector(".watch-stale")) draw(); })];
  look();

  return () => {
    ended.abort(new Error("left"));
    for (const timer of timers) clearTimeout(timer);
    for (const stop of stops) stop();
    document.removeEventListener("visibilitychange", shown);
    for (const each of Object.values(charts)) each.close();
    unsettle(...Object.keys(charts));
  };
}
