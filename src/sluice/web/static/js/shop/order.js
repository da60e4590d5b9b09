// One order, as its buyer sees it: what it is now, until when, and what can be done.
import { button, explain, notice } from "../components/basic.js";
import * as basic from "../components/basic.js";
import { announce, h } from "../core/dom.js";
import { clockTime, dateTime, nearTime, t } from "../core/i18n.js";
import { money } from "../core/money.js";
import { cancelOrder, changed, isOpen, startPayment } from "./store.js";

const KINDS = { queued: "waiting", awaiting_payment: "waiting", paid: "good", refunded: "", refunding: "waiting", cancelled: "", expired: "bad", rejected: "bad" };
export const orderBadge = (order) => basic.badge(t(`order.state_${order.state}`), KINDS[order.state] ?? "");

/** The state of a sale. */
export const stateBadge = (state) => basic.badge(t(`state.${state}`), { live: "accent", scheduled: "waiting", paused: "warn" }[state] ?? "");

const WARN_S = 120;
/** What is being done with an order, or went wrong with it: {busy, error}. */
const doing = new Map();
const stateOf = (id) => doing.get(id) ?? { busy: null, error: null };
function set(id, next) { doing.set(id, next); changed(); }

async function pay(order) {
  if (stateOf(order.id).busy) return;
  set(order.id, { busy: "pay", error: null });
  try {
    const payment = await startPayment(order.id);
    location.assign(payment.checkout_url);
  } catch (error) {
    set(order.id, { busy: null, error });
  }
}

async function cancel(order) {
  const sure = await basic.confirm(t("order.cancel_title"), t(order.state === "queued" ? "order.cancel_text_queued" : "order.cancel_text"), t("order.cancel_yes"), t("order.cancel_no"));
  if (!sure || stateOf(order.id).busy) return;
  set(order.id, { busy: "cancel", error: null });
  try {
    await cancelOrder(order.id);
    set(order.id, { busy: null, error: null });
    announce(t("order.state_cancelled"));
  } catch (error) {
    set(order.id, { busy: null, error });
  }
}

/** The panel of an order. `linked`: with a way to its own page. */
export function orderPanel(order, { linked = true } = {}) {
  const { busy, error } = stateOf(order.id);
  const failed = order.payment.state === "failed" && order.state === "awaiting_payment";
  return h("div", { class: `deal deal-${order.state}`, key: `order-${order.id}` },
    head(order),
    failed ? notice("warn", t("order.payment_failed"), t("order.payment_failed_text")) : null,
    error ? notice("bad", t("core.failed_title"), explain(error), { role: "alert" }) : null,
    order.state === "awaiting_payment" ? button(busy === "pay" ? t("order.paying") : t("order.pay", { amount: order.amount ? money(order.amount) : "" }), { kind: "main", size: "large", wide: true, busy: busy === "pay", onclick: () => pay(order), key: "pay" }) : null,
    !linked && !isOpen(order) ? null : h("div", { class: "row row-plain" },
      linked ? button(t("order.look"), { href: `/orders/${order.id}`, kind: "plain", key: "look" }) : null,
      isOpen(order) ? button(t("order.cancel"), { kind: "plain", busy: busy === "cancel", onclick: () => cancel(order), key: "cancel" }) : null));
}

function head(order) {
  const kind = { queued: "accent", awaiting_payment: "accent", paid: "good", rejected: "bad", expired: "bad", cancelled: "", refunding: "", refunded: "" }[order.state] ?? "";
  const words = { n: order.quantity, at: order.pay_by ? clockTime(order.pay_by) : "" };
  if (order.state !== "awaiting_payment" || !order.pay_by) return notice(kind, t(`order.title_${order.state}`, words), t(`order.text_${order.state}`, words));
  return h("div", { class: "deal-head" },
    h("p", { class: "deal-title" }, t("order.title_awaiting_payment", words)),
    h("p", { class: "deal-clock" }, h("span", { class: "soft" }, t("order.left")), " ",
      h("sl-countdown", { until: order.pay_by, warn: WARN_S, say: "order.say_left" })),
    h("p", { class: "soft small" }, t("order.text_awaiting_payment", words)));
}

/** What happened, oldest first. */
export const history = (order) => h("ol", { class: "history" }, order.history.map((entry) =>
  h("li", {}, h("span", { class: "history-what" }, t(`order.state_${entry.state}`)), h("time", { class: "soft small", datetime: entry.at }, nearTime(entry.at, true)))));

export const orderFacts = (order, titles) => basic.facts([
  [t("order.item"), titles?.item ?? t("order.item_n", { id: order.item_id })],
  [t("order.quantity"), String(order.quantity)],
  [t("order.amount"), order.amount ? money(order.amount) : "—"],
  [t("order.placed"), dateTime(order.placed_at)],
  [t("order.number"), h("code", {}, order.id)],
  order.refunded_quantity ? [t("order.refunded_units"), String(order.refunded_quantity)] : [null, null],
].filter(([word]) => word));
