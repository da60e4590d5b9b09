// Who waits for an item, first in line first.
import { empty, table, tabs } from "../components/basic.js";
import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, number, t } from "../core/i18n.js";
import { more, pages, sheet } from "./kit.js";

export function waitlistPage(main, { params }) {
  const sale = `/v1/admin/sales/${params.id}`;
  const line = (item) => `/v1/admin/items/${item}/waitlist`;
  return sheet(main, {
    name: (page) => t("console.waitlist_of", { title: page.data?.sale.title ?? "" }),
    back: { href: `/console/sales/${params.id}`, label: () => t("console.sale") },
    every: 15_000,
    load: async (page) => {
      const found = await get(sale);
      const item = page.ui.item ?? found.items[0].id;
      return { sale: found, item, ...(await pages(line(item), { limit: 50 })) };
    },
    view: (page) => {
      const { sale: found, item, rows } = page.data;
      const list = () => [
        table(t("console.waitlist"), [
          { label: t("console.place"), number: true, cell: (entry) => number(rows.indexOf(entry) + 1) },
          { label: t("console.buyer"), header: true, cell: (entry) => h("a", { class: "console-id", href: `/console/orders?q=${encodeURIComponent(entry.buyer)}` }, entry.buyer) },
          { label: t("console.joined"), cell: (entry) => dateTime(entry.joined_at) },
        ], rows, { key: (entry) => entry.id, none: empty(t("console.nobody_waits"), t(found.policy.waitlist ? "console.nobody_waits_text" : "console.no_waitlist")) }),
        more(page, line(item), { limit: 50 }),
      ];
      if (found.items.length === 1) return list();
      return tabs(t("console.items"), found.items.map((each) => ({ id: each.id, label: each.title, panel: list })), item, (id) => { page.ui.item = id; page.data.item = id; page.reload(); });
    },
  });
}
