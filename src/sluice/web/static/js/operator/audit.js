// Every invariant, looked at when somebody asks; each with what it means.
import { badge, button } from "../components/basic.js";
import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { has, t } from "../core/i18n.js";
import { sheet } from "../console/kit.js";

const unseen = (check) => !check.ok && /not known/.test(check.detail);

export function auditPage(main) {
  return sheet(main, {
    name: () => t("operator.audit"),
    stale: 300,
    load: () => get("/v1/admin/audit", { timeoutMs: 60_000 }),
    actions: (page) => button(t("operator.run_now"), { kind: "main", busy: page.asking, onclick: () => page.reload() }),
    view: ({ data, asking }) => {
      const broken = data.invariants.filter((check) => !check.ok);
      return [
        h("div", { class: `operator-light operator-light-${data.ok ? "good" : "bad"}`, role: "status", "aria-busy": asking ? "true" : null },
          badge(t(data.ok ? "operator.holds" : "operator.broken"), data.ok ? "good" : "bad"),
          h("div", {}, h("p", {}, t(data.ok ? "operator.all_hold" : "operator.not_all_hold", { n: broken.length })),
            h("p", {}, t(data.ok ? "operator.all_hold_text" : "operator.not_all_hold_text")))),
        h("div", {}, data.invariants.map((check) => h("div", { class: "operator-invariant", key: check.name },
          badge(t(check.ok ? "operator.holds" : unseen(check) ? "operator.not_known" : "operator.broken"), check.ok ? "good" : unseen(check) ? "warn" : "bad"),
          h("div", {}, h("h2", { class: "strong" }, named(check.name)), h("p", { class: "soft small" }, meaning(check.name)),
            check.detail ? h("p", { class: "operator-detail" }, check.detail) : null)))),
      ];
    },
  });
}

const key = (name) => `operator.inv_${name.replace(/^\d+_/, "")}`;
const named = (name) => (has(key(name)) ? `${name.match(/^\d+/)?.[0] ?? ""} ${t(key(name))}`.trim() : name.replaceAll("_", " "));
const meaning = (name) => (has(`${key(name)}_text`) ? t(`${key(name)}_text`) : h("code", {}, name));
