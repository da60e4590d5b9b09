// Orders that could not be recorded, and whether their units went back.
import { badge, button, empty, table } from "../components/basic.js";
import { postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, has, number, t } from "../core/i18n.js";
import { more, pages, sheet } from "../console/kit.js";

const PATH = "/v1/admin/dead-letters";
const KINDS = { returned: "good", returning: "waiting", kept: "", stuck: "bad" };

export function lettersPage(main) {
  return sheet(main, {
    name: () => t("operator.letters"),
    every: 15_000,
    load: () => pages(PATH, { limit: 50 }),
    view: (page) => [
      h("p", { class: "soft" }, t("operator.letters_text")),
      table(t("operator.letters"), [
        { label: t("console.order"), header: true, cell: (letter) => h("a", { href: `/console/orders/${letter.order_id}` }, letter.order_id) },
        { label: t("operator.units"), cell: (letter) => h("span", { title: t(`operator.letter_${letter.state}_text`) }, badge(t(`operator.letter_${letter.state}`), KINDS[letter.state])) },
        { label: t("console.reason"), cell: (letter) => [has(`operator.reason_${letter.reason}`) ? t(`operator.reason_${letter.reason}`) : letter.reason, letter.detail ? h("div", { class: "operator-detail soft" }, letter.detail) : null] },
        { label: t("console.buyer"), cell: (letter) => h("span", { class: "console-id" }, letter.buyer) },
        { label: t("console.item"), cell: (letter) => letter.item_id },
        { label: t("console.units"), number: true, cell: (letter) => number(letter.quantity) },
        { label: t("console.at"), cell: (letter) => dateTime(letter.at) },
        { label: "", cell: (letter) => (["stuck", "returning"].includes(letter.state) ? button(t("operator.retry"), { "aria-label": `${t("operator.retry")} ${letter.order_id}`, busy: page.busy === letter.id, onclick: () => page.run(letter.id, () => postOnce(`${PATH}/${letter.id}/retry`), t("operator.retried")) }) : "") },
      ], page.data.rows, { key: (letter) => letter.id, none: empty(t("operator.no_letters"), t("operator.no_letters_text")) }),
      more(page, PATH, { limit: 50 }),
    ],
  });
}
