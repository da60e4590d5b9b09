// Where the merchant's systems are told, and what came of each message.
import { badge, button, card, confirm, empty, facts, notice, table, toast } from "../components/basic.js";
import { del, get, patch, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, number, t } from "../core/i18n.js";
import { STATE_KINDS, ask, fromLocal, localInput, more, pages, sheet, showOnce, withQuery } from "./kit.js";

const PATH = "/v1/admin/webhooks";
const LOG = "/v1/admin/deliveries";
const stateOf = (endpoint) => badge(t(`console.hook_${endpoint.state}`), STATE_KINDS[endpoint.state]);
const EVENTS = ["order.*", "sale.*", "order.awaiting_payment", "order.payment_due_soon", "order.paid", "order.cancelled", "order.expired", "order.rejected", "order.refunding", "order.refunded", "sale.published", "sale.changed", "sale.paused", "sale.resumed", "sale.closed"];

export function webhooksPage(main, { query, go }) {
  const order = query.get("order");
  const filter = { order, state: query.get("state"), limit: 50 };
  return sheet(main, {
    name: () => t("console.webhooks"),
    every: 20_000,
    load: async () => {
      const [endpoints, log] = await Promise.all([get(PATH), pages(LOG, filter)]);
      return { endpoints: endpoints.data, ...log };
    },
    actions: (page) => button(t("console.add_endpoint"), { kind: "main", onclick: () => add(page, go) }),
    view: (page) => [
      table(t("console.endpoints"), [
        { label: t("console.address"), header: true, cell: (each) => h("a", { class: "console-id", href: `/console/webhooks/${each.id}` }, each.url) },
        { label: t("console.state"), cell: stateOf },
        { label: t("console.events"), cell: (each) => each.events.join(", ") },
        { label: t("console.delivered"), number: true, cell: (each) => number(each.delivered) },
        { label: t("console.failed_attempts"), number: true, cell: (each) => number(each.failed) },
        { label: t("console.failing_since"), cell: (each) => (each.failing_since ? dateTime(each.failing_since) : "—") },
      ], page.data.endpoints, { key: (each) => each.id, none: empty(t("console.no_endpoints"), t("console.no_endpoints_text"), button(t("console.add_endpoint"), { kind: "main", onclick: () => add(page, go) })) }),
      deliveries(page, filter, order ? t("console.told_of", { id: order }) : t("console.log")),
    ],
  });
}

export function endpointPage(main, { params, query, go }) {
  const path = `${PATH}/${params.id}`;
  const filter = { endpoint: params.id, state: query.get("state"), limit: 50 };
  return sheet(main, {
    name: (page) => page.data?.endpoint.description || t("console.endpoint_n", { id: params.id }),
    back: { href: "/console/webhooks", label: () => t("console.webhooks") },
    every: 8_000,
    load: async () => {
      const [endpoint, log] = await Promise.all([get(path), pages(LOG, filter)]);
      return { endpoint, ...log };
    },
    lead: (page) => (page.data ? h("p", { class: "row" }, stateOf(page.data.endpoint), h("span", { class: "console-id soft" }, page.data.endpoint.url)) : null),
    actions: (page) => button(t("console.send_test"), { busy: page.busy === "test", onclick: () => page.run("test", () => postOnce(`${path}/test`), t("console.test_sent")) }),
    view: (page) => {
      const { endpoint } = page.data;
      return [
        endpoint.state === "off" ? notice("bad", t("console.hook_off_title"), endpoint.off_reason, { actions: [button(t("console.switch_on"), { kind: "main", onclick: () => page.run("on", () => patch(path, { state: "active" }), t("console.switched_on")) })] }) : null,
        card({}, h("h2", {}, t("console.facts")), facts([
          [t("console.events"), endpoint.events.join(", ")],
          [t("console.delivered"), number(endpoint.delivered)],
          [t("console.failed_attempts"), number(endpoint.failed)],
          [t("console.failing_since"), endpoint.failing_since ? dateTime(endpoint.failing_since) : null],
          [t("console.old_secret"), endpoint.old_secret_until ? t("console.until", { at: dateTime(endpoint.old_secret_until) }) : null],
          [t("console.made"), dateTime(endpoint.created_at)],
        ]), h("div", { class: "row" },
          button(t("console.edit"), { onclick: () => change(page, path, endpoint) }),
          button(t("console.rotate"), { onclick: () => rotate(page, path) }),
          button(t("console.replay_failed"), { onclick: () => replay(page, path) }),
          endpoint.state === "active" ? button(t("console.switch_off"), { onclick: () => page.run("off", () => patch(path, { state: "off" }), t("console.switched_off")) }) : null,
          button(t("console.delete"), { kind: "danger", onclick: () => remove(page, path, go) }))),
        deliveries(page, filter, t("console.log")),
      ];
    },
  });
}

function deliveries(page, filter, heading) {
  const here = location.pathname;
  const link = (state, label) => h("a", { class: "button", key: state ?? "all", href: withQuery(here, { order: filter.order, state }), "aria-current": (filter.state ?? "") === (state ?? "") ? "true" : null }, label);
  return h("section", { class: "stack", "aria-labelledby": "log-title" },
    h("div", { class: "row-between" }, h("h2", { id: "log-title" }, heading),
      h("nav", { class: "row console-filter", "aria-label": t("console.state") }, link(null, t("console.all")), ["pending", "delivered", "failed"].map((state) => link(state, t(`console.hook_${state}`))))),
    table(heading, [
      { label: t("console.message"), header: true, cell: (each) => each.type },
      { label: t("console.state"), cell: (each) => badge(t(`console.hook_${each.state}`), STATE_KINDS[each.state]) },
      { label: t("console.about"), cell: (each) => (each.order_id ? h("a", { href: `/console/orders/${each.order_id}` }, each.order_id) : each.sale_id ? h("a", { href: `/console/sales/${each.sale_id}` }, `${t("console.sale")} ${each.sale_id}`) : "—") },
      { label: t("console.attempts"), number: true, cell: (each) => number(each.attempts) },
      { label: t("console.answer"), cell: (each) => each.error ?? (each.response_status ?? "—") },
      { label: t("console.happened"), cell: (each) => dateTime(each.occurred_at) },
      { label: "", cell: (each) => button(t("console.replay"), { "aria-label": `${t("console.replay")} ${each.type} ${each.id}`, onclick: () => page.run(`replay-${each.id}`, () => postOnce(`${LOG}/${each.id}/replay`), t("console.replayed")) }) },
    ], page.data.rows, { key: (each) => each.id, none: empty(t("console.no_deliveries"), t("console.no_deliveries_text")) }),
    more(page, LOG, filter));
}

const FIELDS = (endpoint) => [
  { name: "url", label: t("console.address"), type: "url", required: true, value: endpoint?.url ?? "", hint: t("console.address_hint"), maxlength: "500" },
  { name: "description", label: t("console.description"), value: endpoint?.description ?? "", maxlength: "200" },
  { name: "events", label: t("console.events"), value: (endpoint?.events ?? ["order.*", "sale.*"]).join(", "), hint: t("console.events_hint", { list: EVENTS.slice(0, 2).join(", ") }) },
];
const read = ({ url, description, events }) => ({ url: url.trim(), description: description.trim(), ...(events.trim() ? { events: events.split(/[\s,]+/).filter(Boolean) } : {}) });
async function add(page, go) {
  const made = await ask(t("console.add_endpoint"), t("console.add_endpoint_text"), FIELDS(null), t("console.add_endpoint"), (given) => { const body = read(given); if (!body.description) delete body.description; return postOnce(PATH, body); });
  if (!made) return;
  await showOnce(t("console.secret"), t("console.secret_text"), made.secret);
  go(`/console/webhooks/${made.id}`);
}
async function change(page, path, endpoint) {
  if (await ask(t("console.edit"), null, FIELDS(endpoint), t("core.save"), (given) => patch(path, read(given)))) page.reload();
}
async function rotate(page, path) {
  const said = await ask(t("console.rotate"), t("console.rotate_text"), [{ name: "hours", label: t("console.old_hours"), type: "number", min: "0", max: "168", value: "24", hint: t("console.old_hours_hint") }], t("console.rotate"), ({ hours }) => postOnce(`${path}/secret`, { old_valid_for_seconds: Math.round(Number(hours || 0) * 3600) }));
  if (!said) return;
  await showOnce(t("console.secret"), t("console.secret_text"), said.secret);
  page.reload();
}
async function replay(page, path) {
  const since = localInput(new Date(Date.now() - 86_400_000));
  const said = await ask(t("console.replay_failed"), t("console.replay_failed_text"), [{ name: "since", label: t("console.since"), type: "datetime-local", value: since, required: true }], t("console.replay"), (given) => postOnce(`${path}/replay`, { since: fromLocal(given.since) }));
  if (said) { toast(t("console.replayed_n", { n: number(said.replayed) })); page.reload(); }
}
async function remove(page, path, go) {
  if (!(await confirm(t("console.delete_title"), t("console.delete_text"), t("console.delete")))) return;
  if (await page.run("delete", () => del(path).then(() => true))) go("/console/webhooks");
}
