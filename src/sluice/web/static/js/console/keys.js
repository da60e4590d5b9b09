// Keys of the merchant's own systems: made, shown once, revoked.
import { badge, button, confirm, empty, table } from "../components/basic.js";
import { del, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, t } from "../core/i18n.js";
import { ask, fromLocal, more, pages, sheet, showOnce } from "./kit.js";

const PATH = "/v1/admin/keys";
const KINDS = { active: "good", expired: "warn", revoked: "" };

export function keysPage(main) {
  return sheet(main, {
    name: () => t("console.keys"),
    load: () => pages(PATH, { limit: 50 }),
    actions: (page) => button(t("console.make_key"), { kind: "main", onclick: () => make(page) }),
    view: (page) => [
      h("p", { class: "soft" }, t("console.keys_text")),
      table(t("console.keys"), [
        { label: t("console.name"), header: true, cell: (key) => key.name },
        { label: t("console.key"), cell: (key) => h("span", { class: "console-id" }, `slk_…${key.ends_with}`) },
        { label: t("console.scope"), cell: (key) => t(`console.scope_${key.scope}`) },
        { label: t("console.state"), cell: (key) => badge(t(`console.key_${key.state}`), KINDS[key.state]) },
        { label: t("console.last_used"), cell: (key) => (key.last_used_at ? dateTime(key.last_used_at) : t("console.never")) },
        { label: t("console.expires"), cell: (key) => (key.expires_at ? dateTime(key.expires_at) : t("console.never_expires")) },
        { label: t("console.made_by"), cell: (key) => `${key.created_by}, ${dateTime(key.created_at)}` },
        { label: "", cell: (key) => (key.state === "active" ? button(t("console.revoke"), { kind: "danger", "aria-label": `${t("console.revoke")}: ${key.name}`, onclick: () => revoke(page, key) }) : "") },
      ], page.data.rows, { key: (key) => key.id, none: empty(t("console.no_keys"), t("console.no_keys_text"), button(t("console.make_key"), { kind: "main", onclick: () => make(page) })) }),
      more(page, PATH, { limit: 50 }),
    ],
  });
}

async function make(page) {
  const made = await ask(t("console.make_key"), null, [
    { name: "name", label: t("console.name"), hint: t("console.key_name_hint"), required: true, maxlength: "100", autocomplete: "off" },
    { name: "scope", label: t("console.scope"), value: "read", options: [["read", t("console.scope_read")], ["full", t("console.scope_full")]] },
    { name: "expires_at", label: t("console.expires"), type: "datetime-local", hint: t("console.expires_hint") },
  ], t("console.make_key"), ({ name, scope, expires_at: until }) => postOnce(PATH, { name: name.trim(), scope, ...(until ? { expires_at: fromLocal(until) } : {}) }));
  if (!made) return;
  await showOnce(t("console.key_made", { name: made.name }), t("console.key_text"), made.key ?? t("console.key_lost"));
  page.reload();
}
async function revoke(page, key) {
  if (!(await confirm(t("console.revoke_key_title", { name: key.name }), t("console.revoke_key_text"), t("console.revoke")))) return;
  await page.run("revoke", () => del(`${PATH}/${key.id}`), t("console.key_gone"));
}
