// What an operator should look at, and who does.
import { badge, button, empty, table, tabs } from "../components/basic.js";
import { get, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, t } from "../core/i18n.js";
import { ask, sheet } from "../console/kit.js";

const PATH = "/v1/admin/incidents";
const LINKS = { order: (id) => `/console/orders/${id}`, endpoint: (id) => `/console/webhooks/${id}`, shard: () => "/operator/health", item: () => "/operator/audit" };

export function incidentsPage(main) {
  return sheet(main, {
    name: () => t("operator.incidents"),
    every: 15_000,
    load: async () => (await get(PATH)).data,
    view: (page) => {
      const chosen = page.ui.tab ?? "open";
      const groups = { open: page.data.filter((each) => !each.seen), seen: page.data.filter((each) => each.seen), all: page.data };
      return tabs(t("operator.incidents"), Object.entries(groups).map(([id, rows]) => ({ id, label: `${t(`operator.tab_${id}`)} (${rows.length})`, panel: () => list(page, rows, id) })), chosen, (id) => page.set({ tab: id }));
    },
  });
}

function list(page, rows, id) {
  return table(t("operator.incidents"), [
    { label: t("operator.what"), header: true, cell: (each) => t(`operator.inc_${each.kind}`) },
    { label: t("console.state"), cell: (each) => (each.until === null ? badge(t("operator.lasts"), "bad") : badge(t("operator.over"), "good")) },
    { label: t("console.about"), cell: subject },
    { label: t("operator.detail"), cell: (each) => h("span", { class: "operator-detail" }, each.detail) },
    { label: t("operator.since"), cell: (each) => dateTime(each.since) },
    { label: t("operator.until"), cell: (each) => (each.until ? dateTime(each.until) : "—") },
    { label: t("operator.seen_by"), cell: (each) => (each.seen ? h("span", {}, `${each.seen.by}, ${dateTime(each.seen.at)}`, each.seen.note ? h("div", { class: "soft" }, each.seen.note) : null) : button(t("operator.see"), { "aria-label": `${t("operator.see")}: ${t(`operator.inc_${each.kind}`)} ${each.detail}`, onclick: () => see(page, each) })) },
  ], rows, { key: (each) => each.id, none: empty(t(id === "open" ? "operator.no_open" : "operator.no_incidents"), t("operator.no_incidents_text")) });
}

function subject(each) {
  const [kind, number] = (each.subject ?? "").split(":");
  const text = each.subject ? `${t(`operator.about_${kind}`)} ${number}` : "—";
  return LINKS[kind] ? h("a", { href: LINKS[kind](number) }, text) : text;
}
function see(page, each) {
  return ask(t("operator.see"), t("operator.see_text"), [{ name: "note", label: t("operator.note"), rows: 3, maxlength: "500" }], t("operator.see"), ({ note }) => postOnce(`${PATH}/${each.id}/seen`, note.trim() ? { note: note.trim() } : {})).then((done) => done && page.reload());
}
