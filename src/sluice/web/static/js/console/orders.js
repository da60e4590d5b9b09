// Orders: looked for, taken away as a file, shown, refunded.
import { badge, button, card, empty, facts, field, notice, table } from "../components/basic.js";
import { get, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, number, t } from "../core/i18n.js";
import { money } from "../core/money.js";
import { STATE_KINDS, ask, download, more, pages, saidWhy, sheet, withQuery } from "./kit.js";
import { toast } from "../components/basic.js";

const PATH = "/v1/admin/orders";
const STATES = ["awaiting_payment", "paid", "expired", "cancelled", "rejected", "refunding", "refunded"];
const stateBadge = (state) => badge(t(`console.order_${state}`), STATE_KINDS[state]);
const paying = (state) => badge(t(`console.pay_${state}`), STATE_KINDS[state]);

export function ordersPage(main, { query, go }) {
  const search = { q: query.get("q") ?? "", sale: query.get("sale") ?? "", state: query.get("state") ?? "" };
  const typed = { ...search };
  const narrowed = Object.values(search).some(Boolean);
  return sheet(main, {
    name: () => t("console.orders"),
    load: async () => {
      const [found, sales] = await Promise.all([pages(PATH, { ...search, limit: 50 }), get("/v1/admin/sales?limit=100")]);
      return { ...found, sales: sales.data };
    },
    actions: (page) => button(t("console.csv"), { busy: page.busy === "csv", onclick: () => download(withQuery(PATH, { ...search, format: "csv" }), "orders.csv") }),
    view: (page) => [
      h("form", { class: "console-search", role: "search", onsubmit: (event) => { event.preventDefault(); go(withQuery("/console/orders", typed)); } },
        field(t("console.search"), { name: "q", value: typed.q, type: "search", hint: t("console.search_hint"), maxlength: "255", oninput: (event) => { typed.q = event.target.value.trim(); } }),
        field(t("console.sale"), { name: "sale", value: typed.sale, options: [["", t("console.all")], ...page.data.sales.map((sale) => [sale.id, sale.title])], oninput: (event) => { typed.sale = event.target.value; } }),
        field(t("console.state"), { name: "state", value: typed.state, options: [["", t("console.all")], ...STATES.map((state) => [state, t(`console.order_${state}`)])], oninput: (event) => { typed.state = event.target.value; } }),
        button(t("console.find"), { kind: "main", type: "submit" })),
      table(t("console.orders"), [
        { label: t("console.order"), header: true, cell: (order) => h("a", { href: `/console/orders/${order.id}` }, order.id) },
        { label: t("console.state"), cell: (order) => stateBadge(order.state) },
        { label: t("console.sale"), cell: (order) => page.data.sales.find((sale) => sale.id === order.sale_id)?.title ?? order.sale_id },
        { label: t("console.buyer"), cell: (order) => h("span", { class: "console-id" }, order.buyer) },
        { label: t("console.units"), number: true, cell: (order) => number(order.quantity) },
        { label: t("console.amount"), number: true, cell: (order) => (order.amount ? money(order.amount) : "—") },
        { label: t("console.placed"), cell: (order) => dateTime(order.placed_at) },
      ], page.data.rows, { key: (order) => order.id, none: empty(t(narrowed ? "console.nothing_found" : "console.no_orders"), t(narrowed ? "console.nothing_found_text" : "console.no_orders_text"), narrowed ? button(t("console.show_all"), { href: "/console/orders" }) : null) }),
      more(page, PATH, { ...search, limit: 50 }),
    ],
  });
}

export function orderPage(main, { params }) {
  const path = `${PATH}/${params.id}`;
  return sheet(main, {
    name: () => t("console.order_n", { id: params.id }),
    back: { href: "/console/orders", label: () => t("console.orders") },
    every: 10_000,
    load: () => get(path),
    lead: (page) => (page.data ? h("p", { class: "row" }, stateBadge(page.data.state), h("span", { class: "soft" }, dateTime(page.data.placed_at))) : null),
    actions: (page) => actions(page, path),
    view: (page) => details(page),
  });
}

function details(page) {
  const order = page.data;
  return h("div", { class: "with-side" },
    h("div", { class: "stack" },
      order.state === "rejected" ? notice("bad", t("console.rejected_title"), t("console.rejected_text")) : null,
      card({}, h("h2", {}, t("console.facts")), facts([
        [t("console.sale"), h("a", { href: `/console/sales/${order.sale_id}` }, order.sale_title ?? order.sale_id)],
        [t("console.item"), order.item_title ?? order.item_id],
        [t("console.buyer"), h("span", { class: "console-id" }, order.buyer)],
        [t("console.units"), number(order.quantity)],
        [t("console.refunded_units"), order.refunded_quantity ? number(order.refunded_quantity) : null],
        [t("console.amount"), order.amount ? money(order.amount) : null],
        [t("console.pay_by"), order.state === "awaiting_payment" && order.pay_by ? dateTime(order.pay_by) : null],
        [t("console.payment"), paying(order.payment.state)],
      ])),
      table(t("console.payments"), [
        { label: t("console.payment"), header: true, cell: (each) => `${each.provider} ${each.id}` },
        { label: t("console.state"), cell: (each) => paying(each.state) },
        { label: t("console.captured"), number: true, cell: (each) => (each.captured ? money(each.captured) : "—") },
        { label: t("console.reference"), cell: (each) => h("span", { class: "console-id" }, each.reference ?? "—") },
        { label: t("console.at"), cell: (each) => dateTime(each.created_at) },
      ], order.payments, { hideCaption: false, key: (each) => each.id, none: h("p", { class: "soft" }, t("console.no_payments")) }),
      order.refunds.length ? table(t("console.refunds"), [
        { label: t("console.refund"), header: true, cell: (each) => each.id },
        { label: t("console.state"), cell: (each) => badge(t(`console.refund_${each.state}`), STATE_KINDS[each.state]) },
        { label: t("console.amount"), number: true, cell: (each) => money(each.amount) },
        { label: t("console.units"), cell: (each) => (each.quantity ? `${number(each.quantity)}, ${t(each.restock ? "console.restocked" : "console.written_off")}` : "—") },
        { label: t("console.reason"), cell: (each) => each.reason },
        { label: t("console.error"), cell: (each) => each.error ?? "—" },
      ], order.refunds, { hideCaption: false, key: (each) => each.id }) : null),
    card({}, h("h2", {}, t("console.history")),
      h("ol", { class: "console-history" }, order.history.map((step) => h("li", { key: `${step.state}${step.at}` }, stateBadge(step.state), h("time", { datetime: step.at, class: "soft small" }, dateTime(step.at))))),
      h("p", {}, h("a", { href: `/console/webhooks?order=${order.id}` }, t("console.told_of_order")))));
}

function actions(page, path) {
  const order = page.data;
  const left = order.quantity - order.refunded_quantity;
  const failed = order.refunds.find((each) => each.state === "failed");
  const refund = () => ask(t("console.refund_title"), t("console.refund_text", { n: number(left), amount: order.amount ? money(order.amount) : "" }), [
    ...(left > 1 ? [{ name: "quantity", label: t("console.refund_units"), type: "number", min: "1", max: String(left), value: String(left), hint: t("console.refund_units_hint", { n: left }) }] : []),
    { name: "restock", label: t("console.restock"), check: true, value: true },
    { name: "reason", label: t("console.reason"), rows: 2, required: true, hint: t("console.refund_reason_hint"), maxlength: "200" },
  ], t("console.refund_do"), ({ quantity, restock, reason }) => postOnce(`${path}/refund`, { reason, restock: Boolean(restock), ...(quantity && Number(quantity) < left ? { quantity: Number(quantity) } : {}) }), { kind: "danger" }).then(done(page, "console.refund_begun"));
  const cancel = () => ask(t("console.cancel_title"), t("console.cancel_text"), [{ name: "reason", label: t("console.reason"), required: true, maxlength: "200" }], t("console.cancel_do"), ({ reason }) => postOnce(`${path}/cancel`, { reason }), { kind: "danger" }).then(done(page, "console.cancelled"));
  const retry = async () => {
    try { await postOnce(`/v1/admin/money/${failed.id}/retry`); toast(t("console.refund_begun")); } catch (error) { toast(saidWhy(error)); }
    page.reload();
  };
  return [
    order.state === "paid" && order.payment.state !== "refunding" ? button(t("console.refund_button"), { kind: "danger", onclick: refund }) : null,
    ["queued", "awaiting_payment"].includes(order.state) ? button(t("console.cancel_button"), { kind: "danger", onclick: cancel }) : null,
    failed && ["refunding", "paid"].includes(order.state) ? button(t("console.refund_retry"), { onclick: retry }) : null,
  ];
}
const done = (page, key) => (answer) => { if (answer) { toast(t(key)); page.reload(); } };
