// Who is kept out, why and until when.
import { button, confirm, empty, table } from "../components/basic.js";
import { del, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, t } from "../core/i18n.js";
import { ask, more, pages, sheet } from "../console/kit.js";

const PATH = "/v1/admin/blacklist";
const who = (entry) => entry.buyer ?? entry.address;

export function blacklistPage(main) {
  return sheet(main, {
    name: () => t("operator.blacklist"),
    every: 15_000,
    load: () => pages(PATH, { limit: 50 }),
    actions: (page) => button(t("operator.keep_out"), { kind: "main", onclick: () => add(page) }),
    view: (page) => [
      h("p", { class: "soft" }, t("operator.blacklist_text")),
      table(t("operator.blacklist"), [
        { label: t("operator.who"), header: true, cell: (entry) => h("span", { class: "console-id" }, who(entry)) },
        { label: t("operator.kind"), cell: (entry) => t(entry.buyer ? "operator.a_buyer" : "operator.an_address") },
        { label: t("console.reason"), cell: (entry) => entry.reason },
        { label: t("operator.since"), cell: (entry) => dateTime(entry.since) },
        { label: t("operator.until"), cell: (entry) => dateTime(entry.until) },
        { label: "", cell: (entry) => button(t("operator.lift"), { "aria-label": `${t("operator.lift")}: ${who(entry)}`, onclick: () => lift(page, entry) }) },
      ], page.data.rows, { key: (entry) => entry.id, none: empty(t("operator.nobody_out"), t("operator.nobody_out_text")) }),
      more(page, PATH, { limit: 50 }),
    ],
  });
}

function add(page) {
  return ask(t("operator.keep_out"), t("operator.keep_out_text"), [
    { name: "who", label: t("operator.who"), required: true, hint: t("operator.who_hint"), autocomplete: "off", spellcheck: "false" },
    { name: "minutes", label: t("operator.minutes"), type: "number", min: "1", max: "43200", value: "60" },
    { name: "reason", label: t("console.reason"), required: true, maxlength: "200" },
  ], t("operator.keep_out"), ({ who: text, minutes, reason }) => {
    const buyer = /^(jwt|acct):/.test(text.trim());
    return postOnce(PATH, { [buyer ? "buyer" : "address"]: text.trim(), seconds: Math.round(Number(minutes) * 60), reason });
  }, { kind: "danger" }).then((done) => done && page.reload());
}
async function lift(page, entry) {
  if (!(await confirm(t("operator.lift_title", { who: who(entry) }), t("operator.lift_text"), t("operator.lift"), t("core.back"), "main"))) return;
  await page.run(entry.id, () => del(`${PATH}/${encodeURIComponent(entry.id)}`), t("operator.lifted"));
}
