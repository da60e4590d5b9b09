// The buyers' own components, for /components.
import { h } from "../core/dom.js";
import { language, ordinal, register, t } from "../core/i18n.js";
import en from "../../words/en/shop.js";
import zh from "../../words/zh/shop.js";
import { history, orderPanel, stateBadge } from "./order.js";

register({ en, zh });

const say = (english, chinese) => (language() === "zh" ? chinese : english);
const STATES = ["queued", "awaiting_payment", "paid", "expired", "cancelled", "rejected", "refunding", "refunded"];

const order = (state, more = {}) => ({
  id: "1042", sale_id: "7", item_id: "12", quantity: 1, refunded_quantity: 0, amount: { amount: "399.00", currency: "CNY" }, state,
  placed_at: new Date().toISOString(), pay_by: null, payment: { state: "none" }, history: [{ state: "queued", at: new Date().toISOString() }, { state, at: new Date().toISOString() }],
  ...(state === "awaiting_payment" ? { pay_by: new Date(Date.now() + 600_000).toISOString() } : {}), ...more,
});
const board = (label, value, note) => h("div", { class: "board" }, h("div", { class: "board-label" }, label), h("div", { class: "board-value countdown" }, value), h("div", { class: "board-note" }, note));
const meter = (state, share, words) => h("div", { class: `item-left item-left-${state}` }, h("div", { class: "meter", role: "img", "aria-label": words }, h("div", { class: "meter-part", style: { "--share": `${share}%` } })), h("p", { class: "item-left-words", "aria-hidden": "true" }, words));

export const sections = [
  ["Sale state", () => h("div", { class: "row" }, ["scheduled", "live", "paused", "ended"].map(stateBadge))],
  ["Board", () => h("div", { class: "stack" },
    board(t("sale.starts_in"), h("sl-countdown", { until: new Date(Date.now() + 125_000).toISOString() }), t("sale.starts_at", { at: "10:00" })),
    board(t("sale.on"), t("sale.now"), t("sale.until", { at: "18:00" })),
    board(t("sale.paused"), t("sale.paused_value"), t("sale.paused_reason", { reason: say("we are checking a price.", "正在核对价格。") })),
    board(t("sale.ended"), t("sale.ended_value"), t("sale.closed_early")))],
  ["What is left", () => h("div", { class: "stack" },
    meter("available", 80, t("item.left", { left: 40, stock: 50 })), meter("low", 6, t("item.left", { left: 3, stock: 50 })),
    meter("held", 0, t("item.held")), meter("sold_out", 0, t("item.sold_out")))],
  ["Place", () => h("div", { class: "place" }, h("p", { class: "place-label" }, t("line.place")), h("p", { class: "place-value" }, ordinal(37)), h("p", { class: "place-note" }, t("line.ahead", { n: 36 })))],
  ["Order", () => h("div", { class: "stack" }, STATES.map((state) => orderPanel(order(state, { id: `1042-${state}` }))), orderPanel(order("awaiting_payment", { id: "1042-failed", payment: { state: "failed" } })))],
  ["History", () => history(order("awaiting_payment"))],
];
