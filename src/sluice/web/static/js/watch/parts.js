// What monitor and report share: the head of a sale, its light, its refusals, its funnel.
import { badge, button, notice, table } from "../components/basic.js";
import { h } from "../core/dom.js";
import { clockTime, dateTime, has, nearTime, number, t } from "../core/i18n.js";

const STATES = { draft: "", scheduled: "waiting", live: "accent", paused: "warn", ended: "" };
export const stateBadge = (state) => badge(t(`watch.state_${state}`), STATES[state] ?? "");

export function head(sale, here, tools = null) {
  const other = here === "monitor" ? "report" : "monitor";
  return h("header", { class: "watch-head", key: "head" },
    h("p", { class: "small no-print" }, h("a", { href: "/console/sales" }, t("watch.back_to_sales")), " · ",
      h("a", { href: `/console/sales/${sale.id}/${other}` }, t(`watch.to_${other}`))),
    h("div", { class: "row-between" }, h("h1", {}, sale.title), h("div", { class: "row" }, tools)),
    h("div", { class: "row" }, stateBadge(sale.state), h("span", { class: "soft" }, t(`watch.${here}`)),
      h("span", { class: "soft" }, t("watch.starts", { at: dateTime(sale.starts_at) })),
      h("span", { class: "soft" }, t("watch.ends", { at: dateTime(sale.ends_at) }))));
}

/** "3. Never oversold": the audit's names in the reader's language. */
export function invariant(name) {
  const n = /^\d+/.exec(name)?.[0];
  return n && has(`watch.inv_${n}`) ? `${n}. ${t(`watch.inv_${n}`)}` : name.replace(/_/g, " ");
}

export const reason = (code) => (has(`watch.reason_${code}`) ? t(`watch.reason_${code}`) : code);

/** A table that stays a table on a phone: its widths go there. */
export const compact = (key, made) => h("div", { class: "compact", key }, made);

/** rows: [{reason, passes, purchases}]. `none` is shown where nobody was refused. */
export function refusals(caption, rows, none, per = (n) => number(n)) {
  const most = Math.max(1, ...rows.map((row) => row.passes + row.purchases));
  return compact("refusals", table(caption, [
    { label: t("watch.why_reason"), header: true, cell: (row) => reason(row.reason) },
    { label: t("watch.why_passes"), number: true, cell: (row) => per(row.passes) },
    { label: t("watch.why_purchases"), number: true, cell: (row) => per(row.purchases) },
    { label: t("watch.compared"), cell: (row) => h("span", { class: "share", "aria-hidden": "true", style: { "--share": `${(100 * (row.passes + row.purchases)) / most}%` } }) },
  ], rows, { cards: false, key: (row) => row.reason, none: h("p", { class: "soft", key: "nobody" }, none) }));
}

/** Steps of an order as counts and as widths. `asked` may be null: not known. */
export function funnel(found, asked = null) {
  const row = (name, value, kind = "") => ({ name, value, kind });
  const main = [asked === null ? null : row("asked", asked, "asked"), row("accepted", found.accepted), row("checkout_opened", found.checkout_opened), row("paid", found.paid, "good")];
  const side = ["awaiting_payment", "expired", "cancelled", "rejected", "refunded"].map((name) => row(name, found[name], "side"));
  const whole = Math.max(1, found.accepted);
  return compact("funnel", table(t("watch.funnel"), [
    { label: t("watch.step"), header: true, cell: (each) => t(`watch.step_${each.name}`) },
    { label: t("watch.orders"), number: true, cell: (each) => number(each.value) },
    { label: t("watch.share"), number: true, cell: (each) => (each.name === "asked" || !found.accepted ? "—" : number(each.value / whole, { style: "percent", maximumFractionDigits: 1 })) },
    { label: t("watch.compared"), cell: (each) => h("span", { class: `share share-${each.kind || "plain"}`, "aria-hidden": "true", style: { "--share": `${Math.min(100, (100 * each.value) / whole)}%` } }) },
  ], [...main, ...side].filter(Boolean), { cards: false, key: (each) => each.name }));
}

/** The light as a live figure. `ages` in ms; null is never. */
export function light(found, seen) {
  const word = t(`watch.light_${found.state}`);
  const list = (rows) => h("ul", { class: "light-list" }, rows.map((text) => h("li", {}, text)));
  let text = null;
  if (found.state === "ok") text = h("p", {}, t("watch.light_ok_text", { n: number(found.checked) }));
  else if (found.state === "broken") text = [h("p", {}, t("watch.light_broken_text")), h("p", { class: "strong" }, t("watch.which")), list(found.broken.map((each) => `${invariant(each.name)} (${each.detail})`))];
  else if (!found.checked_at) text = h("p", {}, t("watch.light_never"));
  else if (found.unknown.length) text = [h("p", {}, t("watch.light_partly")), list(found.unknown)];
  else text = h("p", {}, t("watch.light_old", { at: nearTime(found.checked_at) }));
  return h("section", { class: `light light-${found.state}`, key: "light", "aria-label": t("watch.light") },
    h("span", { class: "light-mark", "aria-hidden": "true" }, { ok: "✓", broken: "×", unknown: "?" }[found.state]),
    h("div", { class: "stack-tight" }, h("p", { class: "small soft" }, t("watch.light")), h("p", { class: "light-word", role: found.state === "broken" ? "alert" : null }, word), text,
      found.checked_at ? h("p", { class: "small" }, `${t("watch.checked")}: ${clockTime(found.checked_at, true)} `, seen ? h("sl-age", { at: found.checked_at, stale: "60" }) : null) : null));
}

/** Why there is nothing to see, from an ApiError; null for one that passes. */
export function refusedEntry(error, retry) {
  if (error.status === 401) return notice("warn", t("watch.log_in"), null, { role: "alert", actions: [button(t("core.try_again"), { onclick: retry })] });
  if (error.status === 403) return notice("warn", t("watch.not_yours"), null, { role: "alert" });
  if (error.status === 404) return notice("warn", t("watch.not_here"), null, { role: "alert", actions: [button(t("watch.back_to_sales"), { href: "/console/sales" })] });
  return null;
}
