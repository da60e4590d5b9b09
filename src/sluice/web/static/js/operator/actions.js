// Who did what, when, from where, and what came of it.
import { badge, button, empty, field, table } from "../components/basic.js";
import { h } from "../core/dom.js";
import { dateTime, t } from "../core/i18n.js";
import { more, pages, sheet, withQuery } from "../console/kit.js";

const PATH = "/v1/admin/actions";
const kind = (status) => (status === null ? "warn" : status < 400 ? "good" : "bad");

export function actionsPage(main, { query, go }) {
  const actor = query.get("actor") ?? "";
  let typed = actor;
  const filter = { actor, limit: 50 };
  return sheet(main, {
    name: () => t("operator.actions"),
    every: 20_000,
    load: () => pages(PATH, filter),
    view: (page) => [
      h("p", { class: "soft" }, t("operator.actions_text")),
      h("form", { class: "console-ask", role: "search", onsubmit: (event) => { event.preventDefault(); go(withQuery("/operator/actions", { actor: typed.trim() })); } },
        field(t("operator.actor"), { name: "actor", value: typed, hint: t("operator.actor_hint"), maxlength: "200", oninput: (event) => { typed = event.target.value; } }),
        button(t("console.find"), { kind: "main", type: "submit" })),
      table(t("operator.actions"), [
        { label: t("operator.when"), header: true, cell: (action) => dateTime(action.at) },
        { label: t("operator.actor"), cell: (action) => h("a", { class: "console-id", href: withQuery("/operator/actions", { actor: action.actor }) }, action.actor) },
        { label: t("operator.command"), cell: (action) => h("span", { class: "console-id" }, action.target ? `${action.action.split(" ")[0]} ${action.target}` : action.action) },
        { label: t("operator.answer"), cell: (action) => badge(action.status === null ? t("operator.cut_off") : String(action.status), kind(action.status)) },
        { label: t("operator.address"), cell: (action) => h("span", { class: "console-id" }, action.address) },
        { label: t("operator.said"), cell: (action) => (action.detail ? h("details", {}, h("summary", {}, t("operator.show")), h("div", { class: "operator-detail" }, action.detail)) : "—") },
      ], page.data.rows, { key: (action) => action.id, none: empty(t("operator.no_actions"), t("operator.no_actions_text")) }),
      more(page, PATH, filter),
    ],
  });
}
