// The list of sales: what is on, what comes, what is over.
import { button, empty, failure, loading } from "../components/basic.js";
import { title } from "../components/frame.js";
import * as api from "../core/api.js";
import * as clock from "../core/clock.js";
import { h, render } from "../core/dom.js";
import { dateTime, onLanguage, t } from "../core/i18n.js";
import { subscribe, whileDown } from "../core/live.js";
import { money } from "../core/money.js";
import { stateBadge } from "./order.js";
import { keepSale, onChange, sales, stateNow } from "./store.js";

const REFRESH_MS = 15_000;
const HEARD_MAX = 12;
const ORDER = { live: 0, paused: 1, scheduled: 2, ended: 3 };

export function listView(main) {
  const state = { list: null, next: null, error: null, at: 0 };
  let gone = false;
  const topics = new Map();

  async function load(cursor = null) {
    const began = performance.now();
    const page = await api.get(`/v1/sales${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`, { fresh: cursor === null });
    if (page.data[0]) clock.sample(page.data[0].server_time, began, performance.now());
    for (const sale of page.data) keepSale(sale);
    state.list = cursor ? [...state.list, ...page.data] : page.data;
    state.next = page.next_cursor;
    state.error = null;
    if (gone) return;
    for (const sale of state.list) {
      if (topics.size < HEARD_MAX && stateNow(sale) !== "ended" && !topics.has(sale.id)) topics.set(sale.id, subscribe(`sale:${sale.id}`));
    }
    draw();
  }
  const guarded = (cursor) => load(cursor).catch((error) => { state.error = error; if (!gone) draw(); });

  function row(sale) {
    const now = stateNow(sale);
    const prices = sale.items.map((item) => item.price).sort((a, b) => Number(a.amount) - Number(b.amount));
    return h("li", { key: sale.id }, h("a", { class: "sale-row", href: `/sales/${sale.id}` },
      h("span", { class: "sale-row-when" }, now === "scheduled" ? h("sl-countdown", { class: "sale-row-time", until: sale.starts_at })
        : h("span", { class: "sale-row-time" }, now === "ended" ? "—" : t("list.now")),
      h("span", { class: "small soft" }, now === "scheduled" ? dateTime(sale.starts_at) : now === "ended" ? dateTime(sale.ends_at) : t("list.until", { at: dateTime(sale.ends_at) }))),
      h("span", { class: "sale-row-what" }, h("span", { class: "sale-row-title" }, sale.title), h("span", { class: "soft small" }, t("list.items", { n: sale.items.length }), prices.length ? ` · ${t("list.from", { price: money(prices[0]) })}` : "")),
      stateBadge(now)));
  }

  function draw() {
    title("");
    const list = state.list && state.list.map((sale) => sales.get(sale.id) ?? sale).sort((a, b) => ORDER[stateNow(a)] - ORDER[stateNow(b)] || (stateNow(a) === "ended" ? Date.parse(b.ends_at) - Date.parse(a.ends_at) : Date.parse(a.starts_at) - Date.parse(b.starts_at)));
    render(main, h("div", { class: "stack", key: "list" },
      h("h1", {}, t("shop.sales")),
      state.error && !state.list ? failure(state.error, () => guarded(null)) : null,
      !list ? (state.error ? null : h("div", { class: "card" }, loading())) : list.length === 0 ? empty(t("list.none"), t("list.none_text"))
        : h("ul", { class: "sale-rows" }, list.map(row)),
      state.next ? h("p", { class: "pager" }, button(t("core.more"), { onclick: () => guarded(state.next) })) : null));
  }
  draw();
  guarded(null);
  const poll = whileDown(() => load(), REFRESH_MS);
  const stops = [onLanguage(draw), onChange(draw), () => poll.stop(), () => topics.forEach((stop) => stop())];
  main.addEventListener("over", draw);
  return () => { gone = true; main.removeEventListener("over", draw); for (const stop of stops) stop(); };
}
