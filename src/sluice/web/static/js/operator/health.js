// The stores as they answer now, the workers as they were last heard of.
import { badge, card, empty, facts, notice, table } from "../components/basic.js";
import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, has, number, span, t } from "../core/i18n.js";
import { sheet } from "../console/kit.js";

const KINDS = { ok: "good", armed: "good", not_armed: "bad", away: "bad" };
const state = (name) => badge(t(`operator.is_${name}`), KINDS[name]);
const ms = (n) => t("operator.ms", { n: number(n, { maximumFractionDigits: 1 }) });
/** What a server says of itself, by its own names. */
const own = (said) => Object.entries(said).map(([name, value]) => [h("code", {}, name), h("span", { class: "console-id" }, value || "—")]);

export function healthPage(main) {
  return sheet(main, {
    name: () => t("operator.health"),
    every: 5000,
    stale: 15,
    load: () => get("/v1/admin/health"),
    view: ({ data }) => [
      h("div", { class: `operator-light operator-light-${data.ok ? "good" : "bad"}`, role: "status" }, badge(t(data.ok ? "operator.is_ok" : "operator.is_not_ok"), data.ok ? "good" : "bad"),
        h("div", {}, h("p", {}, t(data.ok ? "operator.all_well" : "operator.not_well")), data.ok ? null : h("ul", { class: "rules" }, why(data).map((each) => h("li", {}, each))))),
      h("section", { class: "stack", "aria-labelledby": "stores" }, h("h2", { id: "stores" }, t("operator.stores")),
        h("div", { class: "console-grid" },
          store("gate", data.gate, data.gate.servers.flatMap(own)),
          store("ledger", data.ledger, own(data.ledger.facts)),
          store("cache", data.cache, [[t("operator.failures"), number(data.cache.failures)]]))),
      table(t("operator.shards"), [
        { label: t("operator.shard"), header: true, cell: (shard) => number(shard.shard) },
        { label: t("console.state"), cell: (shard) => state(shard.state) },
        { label: t("operator.epoch"), number: true, cell: (shard) => shard.epoch ?? "—" },
        { label: t("operator.armed_for"), number: true, cell: (shard) => (shard.armed_for_ms === null ? "—" : ms(shard.armed_for_ms)) },
        { label: t("operator.recorded"), number: true, cell: (shard) => (shard.recorded === null ? "—" : number(shard.recorded)) },
        { label: t("operator.backlog"), number: true, cell: (shard) => (shard.backlog === null ? "—" : number(shard.backlog)) },
        { label: t("operator.owner"), cell: (shard) => h("span", { class: "console-id" }, shard.owner ?? t("operator.nobody")) },
        { label: t("operator.latency"), number: true, cell: (shard) => ms(shard.latency_ms) },
      ], data.gate.shards, { hideCaption: false, key: (shard) => shard.shard }),
      table(t("operator.workers"), [
        { label: t("operator.worker"), header: true, cell: (worker) => h("span", { class: "console-id" }, worker.name) },
        { label: t("operator.heard"), cell: (worker) => [badge(t(worker.late ? "operator.late" : "operator.on_time"), worker.late ? "bad" : "good"), " ", h("sl-age", { at: worker.seen_at, stale: 10 })] },
        { label: t("operator.runs"), cell: (worker) => worker.runs.map((run) => (has(`operator.run_${run}`) ? t(`operator.run_${run}`) : run)).join(", ") },
        { label: t("operator.keeps_shut"), cell: (worker) => (worker.shut.length ? worker.shut.map((each) => `${each.shard}: ${each.why}`).join("; ") : "—") },
        { label: t("operator.since"), cell: (worker) => dateTime(worker.since) },
        { label: t("operator.version"), cell: (worker) => worker.version },
      ], data.workers, { hideCaption: false, key: (worker) => worker.name, none: empty(t("operator.no_workers"), t("operator.no_workers_text")) }),
      h("div", { class: "console-grid" },
        card({}, h("h2", {}, t("console.webhooks")), data.webhooks ? facts([
          [t("operator.pending"), number(data.webhooks.pending)],
          [t("operator.given_up"), number(data.webhooks.failed)],
          [t("operator.oldest"), data.webhooks.oldest_pending_ms === null ? "—" : span(data.webhooks.oldest_pending_ms / 1000)],
        ]) : notice("warn", t("operator.not_known"))),
        card({}, h("h2", {}, t("operator.payments")), facts([[t("operator.provider"), data.payments.provider]]), data.payments.simulated ? notice("warn", t("operator.simulated"), t("operator.simulated_text")) : null)),
    ],
  });
}

function store(name, said, rows) {
  return card({ key: name, "aria-label": t(`operator.store_${name}`) },
    h("div", { class: "row-between" }, h("h3", {}, t(`operator.store_${name}`)), state(said.state)),
    h("p", { class: "soft small" }, t(`operator.store_${name}_text`)),
    facts([[t("operator.latency"), ms(said.latency_ms)], ...rows]));
}

function why(data) {
  const found = [];
  for (const name of ["gate", "ledger", "cache"]) if (data[name].state !== "ok") found.push(t("operator.why_away", { name: t(`operator.store_${name}`) }));
  for (const shard of data.gate.shards) if (shard.state === "not_armed") found.push(t("operator.why_shut", { n: shard.shard }));
  for (const worker of data.workers) for (const each of worker.shut) found.push(`${worker.name}: ${each.why}`);
  if (!data.workers.some((worker) => !worker.late)) found.push(t("operator.why_no_worker"));
  return found;
}
