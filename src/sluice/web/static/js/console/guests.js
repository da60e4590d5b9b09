// Who may buy where a sale is not for everybody: codes that invite, and the list of guests.
import { badge, button, confirm, empty, notice, table, toast } from "../components/basic.js";
import { del, get, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, number, t } from "../core/i18n.js";
import { ask, download, more, pages, sheet } from "./kit.js";

export function codesPage(main, { params }) {
  const sale = `/v1/admin/sales/${params.id}`;
  return sheet(main, {
    name: () => t("console.guests_codes"),
    back: { href: `/console/sales/${params.id}`, label: () => t("console.sale") },
    load: async () => {
      const [found, codes, guests] = await Promise.all([get(sale), get(`${sale}/codes?limit=100`), pages(`${sale}/guests`, { limit: 50 })]);
      return { sale: found, codes: codes.data, ...guests };
    },
    view: (page) => [
      page.data.sale.policy.invite_only ? null : notice("", t("console.not_invite_title"), t("console.not_invite_text"), { actions: [button(t("console.edit"), { href: `/console/sales/${params.id}/edit?step=2` })] }),
      h("section", { class: "stack", "aria-labelledby": "codes-title" },
        h("div", { class: "row-between" }, h("h2", { id: "codes-title" }, t("console.codes")), button(t("console.make_codes"), { kind: "main", onclick: () => make(page, sale) })),
        table(t("console.codes"), [
          { label: t("console.batch"), header: true, cell: (batch) => `${t("console.batch")} ${batch.id}` },
          { label: t("console.codes_n"), number: true, cell: (batch) => number(batch.count) },
          { label: t("console.used"), number: true, cell: (batch) => `${number(batch.used)} / ${number(batch.count * batch.uses)}` },
          { label: t("console.priority"), number: true, cell: (batch) => number(batch.priority) },
          { label: t("console.state"), cell: (batch) => (batch.revoked ? badge(t("console.revoked")) : badge(t("console.good_codes"), "good")) },
          { label: t("console.at"), cell: (batch) => dateTime(batch.created_at) },
          { label: "", cell: (batch) => h("div", { class: "row" },
            batch.chosen ? null : button(t("console.download"), { "aria-label": `${t("console.download")} ${batch.id}`, onclick: () => download(`${batch.codes_url}?format=csv`, `codes-${batch.sale_id}-${batch.id}.csv`) }),
            batch.revoked ? null : button(t("console.revoke"), { kind: "danger", "aria-label": `${t("console.revoke")} ${batch.id}`, onclick: () => revoke(page, batch) })) },
        ], page.data.codes, { key: (batch) => batch.id, none: empty(t("console.no_codes"), t("console.no_codes_text")) })),
      h("section", { class: "stack", "aria-labelledby": "guests-title" },
        h("div", { class: "row-between" }, h("h2", { id: "guests-title" }, t("console.guests")),
          h("div", { class: "row" }, button(t("console.add_guests"), { onclick: () => add(page, sale) }), button(t("console.remove_guests"), { onclick: () => remove(page, sale) }))),
        table(t("console.guests"), [
          { label: t("console.buyer"), header: true, cell: (guest) => h("span", { class: "console-id" }, guest.buyer) },
          { label: t("console.priority"), number: true, cell: (guest) => number(guest.priority) },
          { label: t("console.at"), cell: (guest) => dateTime(guest.added_at) },
        ], page.data.rows, { key: (guest) => guest.buyer, none: empty(t("console.no_guests"), t("console.no_guests_text")) }),
        more(page, `${sale}/guests`, { limit: 50 })),
    ],
  });
}

const whole = (text) => (String(text).trim() === "" ? undefined : Number(text));
function make(page, sale) {
  return ask(t("console.make_codes"), t("console.make_codes_text"), [
    { name: "count", label: t("console.codes_n"), type: "number", min: "1", step: "1", value: "100", hint: t("console.codes_n_hint") },
    { name: "uses", label: t("console.uses"), type: "number", min: "1", step: "1", value: "1" },
    { name: "priority", label: t("console.priority"), type: "number", min: "0", step: "1", value: "0", hint: t("console.priority_hint") },
    { name: "code", label: t("console.own_code"), hint: t("console.own_code_hint"), maxlength: "64", autocomplete: "off" },
  ], t("console.make_codes"), ({ count, uses, priority, code }) => postOnce(`${sale}/codes`, { count: code.trim() ? 1 : whole(count), uses: whole(uses) ?? 1, priority: whole(priority) ?? 0, ...(code.trim() ? { code: code.trim() } : {}) }))
    .then((made) => { if (made) { toast(t("console.codes_made", { n: number(made.count) })); page.reload(); } });
}
async function revoke(page, batch) {
  if (!(await confirm(t("console.revoke_codes_title"), t("console.revoke_codes_text"), t("console.revoke")))) return;
  await page.run("revoke", () => del(batch.codes_url), t("console.revoked"));
}
const buyers = (text) => text.split(/[\s,;]+/).filter(Boolean);
function add(page, sale) {
  return ask(t("console.add_guests"), t("console.guests_text"), [
    { name: "buyers", label: t("console.buyers"), rows: 6, required: true, hint: t("console.buyers_hint"), spellcheck: "false" },
    { name: "priority", label: t("console.priority"), type: "number", min: "0", step: "1", value: "0", hint: t("console.priority_hint") },
  ], t("console.add_guests"), (given) => postOnce(`${sale}/guests`, { buyers: buyers(given.buyers), priority: whole(given.priority) ?? 0 }))
    .then((said) => { if (said) { toast(t("console.guests_added", { n: number(said.added) })); page.reload(); } });
}
function remove(page, sale) {
  return ask(t("console.remove_guests"), t("console.remove_guests_text"), [
    { name: "buyers", label: t("console.buyers"), rows: 6, required: true, hint: t("console.buyers_hint"), spellcheck: "false" },
  ], t("console.remove_guests"), (given) => postOnce(`${sale}/guests/remove`, { buyers: buyers(given.buyers) }), { kind: "danger" })
    .then((said) => { if (said) { toast(t("console.guests_removed", { n: number(said.removed) })); page.reload(); } });
}
