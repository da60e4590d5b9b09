// My orders, and one of them.
import { button, empty, failure, loading } from "../components/basic.js";
import { title } from "../components/frame.js";
import { h, render } from "../core/dom.js";
import { nearTime, onLanguage, t } from "../core/i18n.js";
import { money } from "../core/money.js";
import { current, me, onSession } from "../core/session.js";
import { history, orderBadge, orderFacts, orderPanel } from "./order.js";
import { askOrder, followOrders, loadOrders, loadSale, newestFirst, onChange, orders, sales } from "./store.js";

const asked = new Set();
/** The titles of an order's sale and item; asked for once, and there later. */
function titles(order) {
  const sale = sales.get(order.sale_id);
  if (!sale && !asked.has(order.sale_id)) {
    asked.add(order.sale_id);
    loadSale(order.sale_id, { fresh: false }).catch(() => {});
  }
  return { sale: sale?.title ?? t("order.sale_n", { id: order.sale_id }), item: sale?.items.find((item) => item.id === order.item_id)?.title };
}

/** A view for those who are logged in, with what it needs. `draw(state)` answers the page. */
function own(main, load, follow, draw) {
  const state = { ready: false, error: null, next: null };
  let gone = false;
  const show = () => { if (!gone) render(main, draw(state, again)); };
  async function again() {
    try {
      await me();
      if (current()) Object.assign(state, await load(state), { error: null });
    } catch (error) {
      state.error = error;
    }
    state.ready = true;
    show();
  }
  show();
  again();
  const poll = follow?.();
  const stops = [onLanguage(show), onChange(show), onSession(() => { state.ready = false; again(); }), () => poll?.stop()];
  return () => { gone = true; for (const stop of stops) stop(); };
}

const stranger = (heading) => h("div", { class: "stack", key: "stranger" }, h("h1", {}, heading), h("div", { class: "card login-card" }, h("sl-login", { intro: "orders.log_in" })));

export function ordersView(main) {
  async function more(state) {
    state.next = (await loadOrders(state.next)).next_cursor;
  }
  return own(main, async () => ({ next: (await loadOrders()).next_cursor }), followOrders, (state, again) => {
    title(t("shop.orders"));
    if (state.ready && !current() && !state.error) return stranger(t("shop.orders"));
    const list = newestFirst();
    return h("div", { class: "stack", key: "orders" },
      h("div", { class: "row-between" }, h("h1", {}, t("shop.orders")), h("sl-connection")),
      state.error ? failure(state.error, again) : null,
      !state.ready && !list.length ? h("div", { class: "card" }, loading()) : list.length === 0 && !state.error
        ? empty(t("orders.none"), t("orders.none_text"), button(t("orders.see_sales"), { kind: "main", href: "/" }))
        : h("ul", { class: "sale-rows" }, list.map((order) => h("li", { key: order.id }, h("a", { class: "sale-row order-row", href: `/orders/${order.id}` },
          h("span", { class: "sale-row-what" }, h("span", { class: "sale-row-title" }, titles(order).item ?? titles(order).sale), h("span", { class: "soft small" }, `${order.quantity} × · ${order.amount ? money(order.amount) : "—"} · ${nearTime(order.placed_at)}`)),
          h("span", { class: "order-row-state" }, orderBadge(order), order.state === "awaiting_payment" && order.pay_by ? h("sl-countdown", { until: order.pay_by, class: "strong" }) : null))))),
      state.next ? h("p", { class: "pager" }, button(t("core.more"), { onclick: () => more(state).catch(() => {}) })) : null);
  });
}

export function orderView(main, { params }) {
  return own(main, async () => { await askOrder(params.id); return {}; }, followOrders, (state, again) => {
    const order = orders.get(params.id);
    title(t("order.one", { id: params.id }));
    if (state.ready && !current() && !state.error) return stranger(t("order.one", { id: params.id }));
    if (!order) {
      return h("div", { class: "stack", key: "order-none" }, h("h1", {}, t("order.one", { id: params.id })),
        state.error ? failure(state.error, state.error.status === 404 ? null : again) : h("div", { class: "card" }, loading()),
        state.error ? h("p", {}, h("a", { href: "/orders" }, t("shop.orders"))) : null);
    }
    const names = titles(order);
    return h("div", { class: "stack", key: "order" },
      h("div", { class: "row-between" }, h("h1", {}, names.item ?? t("order.one", { id: order.id })), h("sl-connection")),
      h("div", { class: "with-side" },
        h("div", { class: "card" }, h("div", { class: "row" }, orderBadge(order)), orderPanel(order, { linked: false })),
        h("div", { class: "stack" },
          h("div", { class: "card" }, h("h2", {}, t("order.facts")), orderFacts(order, names)),
          h("div", { class: "card" }, h("h2", {}, t("order.history")), history(order)))),
      h("p", {}, h("a", { href: `/sales/${order.sale_id}` }, t("order.to_sale", { title: names.sale })), " · ", h("a", { href: "/orders" }, t("shop.orders"))));
  });
}
