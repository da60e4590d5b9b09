// All sales, and one of them: its figures, its actions.
import { badge, bar, button, card, confirm, empty, facts, notice, table } from "../components/basic.js";
import { get, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, number, span, t } from "../core/i18n.js";
import { money } from "../core/money.js";
import { STATE_KINDS, ask, more, pages, sheet } from "./kit.js";

const PATH = "/v1/admin/sales";
export const saleState = (sale) => badge(t(`console.state_${sale.state}`), STATE_KINDS[sale.state]);
const units = (sale, name) => sale.items.reduce((sum, item) => sum + item[name], 0);

export function salesPage(main) {
  return sheet(main, {
    name: () => t("console.sales"),
    load: () => pages(PATH, { limit: 50 }),
    actions: () => button(t("console.new_sale"), { kind: "main", href: "/console/sales/new" }),
    view: (page) => [
      table(t("console.sales"), [
        { label: t("console.sale"), header: true, cell: (sale) => h("a", { href: `/console/sales/${sale.id}` }, sale.title) },
        { label: t("console.state"), cell: saleState },
        { label: t("console.starts"), cell: (sale) => dateTime(sale.starts_at) },
        { label: t("console.stock"), number: true, cell: (sale) => number(units(sale, "stock")) },
        { label: t("console.available"), number: true, cell: (sale) => number(units(sale, "available")) },
        { label: t("console.paid"), number: true, cell: (sale) => number(units(sale, "paid")) },
        { label: "", cell: (sale) => (sale.state === "draft"
          ? h("a", { href: `/console/sales/${sale.id}/edit`, "aria-label": `${t("console.edit")}: ${sale.title}` }, t("console.edit"))
          : h("a", { href: `/console/sales/${sale.id}/${sale.state === "ended" ? "report" : "monitor"}`, "aria-label": `${t(sale.state === "ended" ? "console.report" : "console.monitor")}: ${sale.title}` }, t(sale.state === "ended" ? "console.report" : "console.monitor"))) },
      ], page.data.rows, { key: (sale) => sale.id, none: empty(t("console.no_sales"), t("console.no_sales_text"), button(t("console.new_sale"), { kind: "main", href: "/console/sales/new" })) }),
      more(page, PATH, { limit: 50 }),
    ],
  });
}

export function overviewPage(main, { params, go }) {
  const path = `${PATH}/${params.id}`;
  return sheet(main, {
    name: (page) => page.data?.title ?? t("console.sale"),
    back: { href: "/console/sales", label: () => t("console.sales") },
    every: 15_000,
    load: () => get(path),
    actions: (page) => steps(page, path, go),
    lead: (page) => (page.data ? h("p", { class: "row" }, saleState(page.data), h("span", { class: "soft" }, `${dateTime(page.data.starts_at)} – ${dateTime(page.data.ends_at)}`)) : null),
    view: (page) => overview(page, path),
  });
}

function overview(page, path) {
  const sale = page.data;
  const here = `/console/sales/${sale.id}`;
  return [
    sale.pause_reason ? notice("warn", t("console.paused_title"), t("console.paused_told", { reason: sale.pause_reason })) : null,
    sale.state === "draft" ? notice("accent", t("console.draft_title"), t("console.draft_text"), { actions: [button(t("console.review"), { href: `${here}/edit?step=4` })] }) : null,
    h("nav", { class: "row console-tools", "aria-label": t("console.of_this_sale") },
      sale.state !== "draft" ? [button(t("console.monitor"), { href: `${here}/monitor` }), button(t("console.report"), { href: `${here}/report` })] : null,
      button(t("console.orders"), { href: `/console/orders?sale=${sale.id}` }),
      button(t("console.waitlist"), { href: `${here}/waitlist` }),
      button(t("console.guests_codes"), { href: `${here}/guests` }),
      button(t("console.edit"), { href: `${here}/edit` }),
      sale.state !== "draft" ? button(t("console.see_page"), { href: `/sales/${sale.id}`, target: "_blank", rel: "noopener" }) : null),
    h("section", { class: "stack", "aria-labelledby": "items-title" }, h("h2", { id: "items-title" }, t("console.items")),
      sale.items.map((item) => itemCard(page, item))),
    card({ "aria-labelledby": "rules-title" }, h("h2", { id: "rules-title" }, t("console.rules")), policyFacts(sale)),
    sale.policy.waiting_room?.enabled && ["live", "paused", "scheduled"].includes(sale.state) ? card({}, h("h2", {}, t("console.pace")), h("p", { class: "soft" }, t("console.pace_text")),
      button(t("console.pace_change"), { onclick: () => pace(page, path, sale) })) : null,
  ];
}

function itemCard(page, item) {
  const gone = item.stock - item.available - item.awaiting_payment - item.paid;
  return card({ key: item.id, "aria-label": item.title },
    h("div", { class: "row-between" }, h("h3", {}, item.title), h("span", { class: "strong" }, money(item.price))),
    bar(item.title, [
      { name: "paid", label: t("console.paid"), value: item.paid },
      { name: "awaiting_payment", label: t("console.awaiting"), value: item.awaiting_payment },
      { name: "available", label: t("console.available"), value: item.available },
      ...(gone > 0 ? [{ name: "returning", label: t("console.written_off"), value: gone }] : []),
    ], item.stock),
    h("div", { class: "row-between" }, h("p", { class: "soft small" }, t("console.stock_of", { n: number(item.stock), each: item.per_buyer })),
      button(t("console.stock_change"), { "aria-label": `${t("console.stock_change")}: ${item.title}`, onclick: () => stock(page, item) })));
}

export function policyFacts(sale) {
  const { policy } = sale;
  const { limits, waiting_room: room } = policy;
  const or = (value) => (value === null ? t("console.no_limit") : number(value));
  return facts([
    [t("console.challenge"), t(`console.challenge_${policy.challenge}`)],
    [t("console.payment_window"), span(policy.payment_window_seconds)],
    [t("console.pass_ttl"), span(policy.pass_ttl_seconds)],
    [t("console.waitlist"), policy.waitlist ? (policy.waitlist_until ? t("console.until", { at: dateTime(policy.waitlist_until) }) : t("console.yes")) : t("console.no")],
    [t("console.invite_only"), t(policy.invite_only ? "console.yes" : "console.no")],
    [t("console.per_buyer_minute"), or(limits.per_buyer_per_minute)],
    [t("console.per_address_minute"), or(limits.per_address_per_minute)],
    [t("console.per_sale_second"), or(limits.per_sale_per_second)],
    [t("console.waiting_room"), room.enabled ? (room.admit_per_second ? t("console.room_pace", { n: number(room.admit_per_second) }) : t("console.room_auto")) : t("console.no")],
  ]);
}

/** What can be done with the sale as it is now. */
function steps(page, path, go) {
  const sale = page.data;
  const busy = page.busy;
  const say = (name, word, done) => page.run(name, () => postOnce(`${path}/${name}`), done);
  const pause = () => ask(t("console.pause_title"), t("console.pause_text"), [{ name: "reason", label: t("console.pause_reason"), hint: t("console.pause_hint"), rows: 3, required: true, maxlength: "500" }], t("console.pause"),
    ({ reason }) => postOnce(`${path}/pause`, { reason })).then((done) => done && page.reload());
  const close = async () => {
    if (await confirm(t("console.close_title"), t("console.close_text", { title: sale.title }), t("console.close"))) await say("close", null, t("console.closed"));
  };
  return {
    draft: [button(t("console.review_publish"), { kind: "main", onclick: () => go(`/console/sales/${sale.id}/edit?step=4`) })],
    scheduled: [button(t("console.pause"), { onclick: pause, busy: busy === "pause" }), button(t("console.close"), { kind: "danger", onclick: close, busy: busy === "close" })],
    live: [button(t("console.pause"), { onclick: pause, busy: busy === "pause" }), button(t("console.close"), { kind: "danger", onclick: close, busy: busy === "close" })],
    paused: [button(t("console.resume"), { kind: "main", busy: busy === "resume", onclick: () => say("resume", null, t("console.resumed")) }), button(t("console.close"), { kind: "danger", onclick: close, busy: busy === "close" })],
    ended: [button(t("console.report"), { href: `/console/sales/${sale.id}/report` })],
  }[sale.state];
}

function stock(page, item) {
  return ask(t("console.stock_title", { item: item.title }), t("console.stock_text", { n: number(item.stock), free: number(item.available) }), [
    { name: "delta", label: t("console.stock_delta"), hint: t("console.stock_hint"), type: "number", step: "1", required: true },
    { name: "reason", label: t("console.reason"), hint: t("console.reason_hint"), required: true, maxlength: "200" },
  ], t("console.stock_change"), ({ delta, reason }) => postOnce(`/v1/admin/items/${item.id}/stock`, { delta: Number(delta), reason })).then((done) => done && page.reload());
}

function pace(page, path, sale) {
  const room = sale.policy.waiting_room;
  const n = (text) => (String(text).trim() === "" ? null : Number(text));
  return ask(t("console.pace"), t("console.pace_text"), [
    { name: "admit_per_second", label: t("console.admit"), hint: t("console.admit_hint"), type: "number", min: "0", step: "any", value: room.admit_per_second ?? "" },
    { name: "active_max", label: t("console.active_max"), hint: t("console.active_hint"), type: "number", min: "1", step: "1", value: room.active_max ?? "" },
  ], t("core.save"), (given) => postOnce(`${path}/pace`, { admit_per_second: n(given.admit_per_second), active_max: n(given.active_max) })).then((done) => done && page.reload());
}
