// Writing a sale, in steps: details, items, protection, waiting room, review. A new one is kept on
// this device until it is saved as a draft; what does not fit is said at its field.
import { badge, button, card, check, confirm, empty, explain, failure, field, loading, notice, steps, table, toast } from "../components/basic.js";
import { title } from "../components/frame.js";
import { ApiError, get, patch, postOnce } from "../core/api.js";
import * as clock from "../core/clock.js";
import { announce, h, render } from "../core/dom.js";
import { dateTime, number, onLanguage, span, t } from "../core/i18n.js";
import { money } from "../core/money.js";
import { checklist, ready } from "./checklist.js";
import { fromLocal, localInput, saidWhy } from "./kit.js";

const KEPT = "sluice.console.new-sale";
const STEPS = ["details", "items", "protection", "room", "review"];
const CURRENCIES = ["CNY", "USD", "EUR", "JPY", "HKD", "GBP"];
const ITEMS_MAX = 50;
const OPENS_BEFORE_S = 600;
const FACTOR = 2;

const newItem = () => ({ title: "", amount: "", currency: "CNY", stock: "", per_buyer: "1", limit_group: "" });
const blank = () => ({
  title: "", starts_at: "", ends_at: "", items: [newItem()],
  challenge: "none", pass_ttl_seconds: "60", payment_window_minutes: "15", waitlist: true, waitlist_until: "", invite_only: false,
  per_buyer_per_minute: "10", per_address_per_minute: "120", per_sale_per_second: "",
  room: false, admit_per_second: "", active_max: "", opens_before_minutes: "", factor: "",
});

/** The form's texts from a sale of the server's. */
function formOf(sale) {
  const { policy } = sale;
  const text = (value) => (value === null || value === undefined ? "" : String(value));
  return {
    title: sale.title, starts_at: localInput(sale.starts_at), ends_at: localInput(sale.ends_at),
    items: sale.items.map((item) => ({ id: item.id, title: item.title, amount: item.price.amount, currency: item.price.currency, stock: text(item.stock), was: item.stock, per_buyer: text(item.per_buyer), limit_group: item.limit_group ?? "" })),
    challenge: policy.challenge, pass_ttl_seconds: text(policy.pass_ttl_seconds), payment_window_minutes: text(minutes(policy.payment_window_seconds)),
    waitlist: policy.waitlist, waitlist_until: localInput(policy.waitlist_until), invite_only: policy.invite_only,
    per_buyer_per_minute: text(policy.limits.per_buyer_per_minute), per_address_per_minute: text(policy.limits.per_address_per_minute), per_sale_per_second: text(policy.limits.per_sale_per_second),
    room: policy.waiting_room.enabled, admit_per_second: text(policy.waiting_room.admit_per_second), active_max: text(policy.waiting_room.active_max), opens_before_minutes: text(policy.waiting_room.opens_before_seconds === undefined ? null : policy.waiting_room.opens_before_seconds / 60), factor: text(policy.waiting_room.factor),
  };
}
/** Of whole seconds, so that they are the same again. */
const minutes = (seconds) => Number((seconds / 60).toFixed(4));

const count = (text) => (/^\d+$/.test(String(text).trim()) ? Number(text) : NaN);
const orNull = (text) => (String(text).trim() === "" ? null : Number(text));

/** The API's words for what the form says. */
export function bodyOf(form, existing) {
  const window_s = Math.round(Number(form.payment_window_minutes) * 60);
  return {
    title: form.title.trim(), starts_at: fromLocal(form.starts_at), ends_at: fromLocal(form.ends_at),
    items: form.items.map((item) => ({
      ...(item.id ? { id: item.id } : { stock: count(item.stock), limit_group: item.limit_group.trim() || null }),
      title: item.title.trim(), price: { amount: item.amount.trim(), currency: item.currency }, per_buyer: count(item.per_buyer),
    })),
    policy: {
      challenge: form.challenge, pass_ttl_seconds: count(form.pass_ttl_seconds), payment_window_seconds: window_s,
      ...(existing ? {} : { payment_reminder_seconds: Math.max(1, Math.floor(window_s / 2)) }),
      waitlist: form.waitlist, waitlist_until: form.waitlist ? fromLocal(form.waitlist_until) : null, invite_only: form.invite_only,
      limits: { per_buyer_per_minute: orNull(form.per_buyer_per_minute), per_address_per_minute: orNull(form.per_address_per_minute), per_sale_per_second: orNull(form.per_sale_per_second) },
      waiting_room: { enabled: form.room, admit_per_second: orNull(form.admit_per_second), active_max: orNull(form.active_max), opens_before_seconds: String(form.opens_before_minutes).trim() === "" ? OPENS_BEFORE_S : Math.round(Number(form.opens_before_minutes) * 60), factor: Number(form.factor) || FACTOR },
    },
  };
}

/** What is wrong that we can see ourselves: {path: words}. */
export function faultsIn(form) {
  const faults = {};
  const fault = (path, key) => { faults[path] ??= t(key); };
  if (!form.title.trim()) fault("title", "console.needed");
  if (!fromLocal(form.starts_at)) fault("starts_at", "console.needed");
  if (!fromLocal(form.ends_at)) fault("ends_at", "console.needed");
  else if (form.starts_at && Date.parse(form.ends_at) <= Date.parse(form.starts_at)) fault("ends_at", "console.ends_first");
  form.items.forEach((item, i) => {
    if (!item.title.trim()) fault(`items[${i}].title`, "console.needed");
    if (!/^\d{1,12}(\.\d{1,3})?$/.test(item.amount.trim())) fault(`items[${i}].price.amount`, "console.bad_amount");
    if (!(count(item.stock) >= 0)) fault(`items[${i}].stock`, "console.bad_count");
    if (!(count(item.per_buyer) >= 1 && count(item.per_buyer) <= 32)) fault(`items[${i}].per_buyer`, "console.bad_each");
  });
  const within = (path, value, low, high) => { if (!(Number(value) >= low && Number(value) <= high)) faults[path] = t("console.bad_range", { low: number(low), high: number(high) }); };
  within("policy.pass_ttl_seconds", form.pass_ttl_seconds, 5, 3600);
  within("policy.payment_window_seconds", form.payment_window_minutes, 0.03, 10080);
  // A text that is no number would go out as null, which is no limit at all.
  const some = (path, value, low, high) => { if (String(value).trim() !== "") within(path, value, low, high); };
  for (const [name, most] of [["per_buyer_per_minute", 6000], ["per_address_per_minute", 10_000_000], ["per_sale_per_second", 1_000_000]]) some(`policy.limits.${name}`, form[name], 1, most);
  if (form.room) {
    some("policy.waiting_room.admit_per_second", form.admit_per_second, 0.1, 1_000_000);
    some("policy.waiting_room.active_max", form.active_max, 1, 100_000_000);
    some("policy.waiting_room.opens_before_seconds", form.opens_before_minutes, 0, 1440);
    some("policy.waiting_room.factor", form.factor, 1, 100);
  }
  return faults;
}

const stepOf = (path) => (/^(title|starts_at|ends_at)/.test(path) ? 0 : path.startsWith("items") ? 1 : path.startsWith("policy.waiting_room") ? 3 : 2);

export function editorPage(main, { params, query, go }) {
  const state = { form: null, sale: null, step: Math.min(4, Math.max(0, Number(query.get("step")) || 0)), faults: {}, tried: false, busy: null, error: null, health: null, saved: null, gone: false };
  const fresh = !params.id;

  async function load() {
    state.error = null;
    try {
      if (fresh) {
        state.form = kept() ?? blank();
      } else {
        state.sale = await get(`/v1/admin/sales/${params.id}`);
        state.form = formOf(state.sale);
      }
    } catch (error) {
      state.error = error;
    }
    draw();
    get("/v1/admin/health").then((said) => { state.health = said; draw(); }, () => {});
  }
  const kept = () => { try { return { ...blank(), ...JSON.parse(localStorage.getItem(KEPT)) }; } catch { return null; } };
  function keep() {
    if (!fresh) return;
    try { localStorage.setItem(KEPT, JSON.stringify(state.form)); state.saved = clock.now(); } catch { state.saved = null; }
  }
  const forget = () => { try { localStorage.removeItem(KEPT); } catch { /* nothing was kept */ } };

  function change(name, value, where = state.form) {
    where[name] = value;
    keep();
    if (state.tried) state.faults = faultsIn(state.form);
    if (name === "challenge" || typeof value === "boolean" || state.tried) draw();
  }
  function move(step) {
    state.step = step;
    history.replaceState(null, "", `${location.pathname}?step=${step}`);
    draw();
    scrollTo(0, 0);
    const heading = main.querySelector("h2");
    if (heading) { heading.tabIndex = -1; heading.focus({ preventScroll: true }); }
  }
  function next() {
    state.faults = faultsIn(state.form);
    const here = Object.keys(state.faults).filter((path) => stepOf(path) === state.step);
    state.tried = here.length > 0;
    if (!here.length) { state.faults = {}; move(state.step + 1); return; }
    draw();
    announce(t("console.faults", { n: here.length }), true);
    main.querySelector("[aria-invalid=true]")?.focus();
  }
  /** The first step with a fault, with the focus on it. */
  function show(faults) {
    state.faults = faults;
    state.tried = true;
    const first = Math.min(...Object.keys(faults).map(stepOf));
    move(first);
    announce(t("console.faults", { n: Object.keys(faults).length }), true);
    main.querySelector("[aria-invalid=true]")?.focus();
  }

  /** Saves; answers the sale, or null where something was wrong. */
  async function save() {
    const faults = faultsIn(state.form);
    if (Object.keys(faults).length) { show(faults); return null; }
    try {
      if (fresh) {
        const made = await postOnce("/v1/admin/sales", bodyOf(state.form, false));
        forget();
        return made;
      }
      let sale = await patch(`/v1/admin/sales/${params.id}`, changes(state));
      for (const item of state.form.items) {
        const delta = count(item.stock) - item.was;
        if (delta) await postOnce(`/v1/admin/items/${item.id}/stock`, { delta, reason: t("console.stock_by_editor") });
        // What is done is not done again where a later one is refused and saving is tried once more.
        item.was = count(item.stock);
      }
      sale = await get(`/v1/admin/sales/${params.id}`);
      state.sale = sale;
      state.form = formOf(sale);
      return sale;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const told = Object.fromEntries(error.errors.map(({ field: path, message }) => [path === "policy.payment_reminder_seconds" ? "policy.payment_window_seconds" : path.replace(/\.price$/, ".price.amount"), message]));
      if (Object.keys(told).length) show(told);
      else toast(saidWhy(error));
      return null;
    }
  }
  async function saveDraft() {
    await busy("save", async () => {
      const sale = await save();
      if (!sale) return;
      toast(t(sale.state === "draft" ? "console.draft_saved" : "console.saved"));
      go(`/console/sales/${sale.id}`);
    });
  }
  async function publish() {
    const risks = checklist(state).filter((each) => each.level === "warn");
    const text = risks.length ? h("div", { class: "stack" }, h("p", {}, t("console.publish_risks")), h("ul", { class: "rules" }, risks.map((each) => h("li", {}, each.text)))) : t("console.publish_text");
    if (!(await confirm(t("console.publish_title"), text, t("console.publish"), t("core.back"), "main"))) return;
    await busy("publish", async () => {
      const sale = await save();
      if (!sale) return;
      try {
        await postOnce(`/v1/admin/sales/${sale.id}/publish`);
        toast(t("console.published"));
      } catch (error) {
        toast(saidWhy(error));
      }
      go(`/console/sales/${sale.id}`);
    });
  }
  async function busy(name, work) {
    if (state.busy) return;
    state.busy = name;
    draw();
    try { await work(); } finally { state.busy = null; draw(); }
  }

  // --- what is seen -----------------------------------------------------------------------------

  const at = (path) => state.faults[path];
  const input = (label, name, more = {}, path = name) => field(label, { name, value: state.form[name], error: at(path), oninput: (event) => change(name, event.target.value), ...more });
  const tick = (label, name, hint) => check(label, { name, hint, checked: state.form[name], onchange: (event) => change(name, event.target.checked) });
  const fixed = () => state.sale !== null && state.sale.state !== "draft" && state.sale.state !== "scheduled";

  function details() {
    return [
      input(t("console.title"), "title", { maxlength: "200", autocomplete: "off", hint: t("console.title_hint") }),
      h("div", { class: "grid" },
        input(t("console.starts"), "starts_at", { type: "datetime-local", disabled: fixed(), hint: t("console.own_time", { zone: Intl.DateTimeFormat().resolvedOptions().timeZone }) }),
        input(t("console.ends"), "ends_at", { type: "datetime-local" })),
      fixed() ? notice("", t("console.fixed_title"), t("console.fixed_text")) : null,
    ];
  }
  function items() {
    const { form } = state;
    return [
      form.items.map((item, i) => {
        const on = (label, name, more = {}, path = `items[${i}].${name}`) => field(label, { name: `${name}-${i}`, value: item[name], error: at(path), oninput: (event) => change(name, event.target.value, item), ...more });
        return h("fieldset", { class: "card", key: `item-${i}` }, h("legend", { class: "visually-hidden" }, t("console.item_n", { n: i + 1 })),
          h("div", { class: "row-between" }, h("h3", {}, item.title.trim() || t("console.item_n", { n: i + 1 })),
            !item.id && form.items.length > 1 ? button(t("console.remove"), { kind: "plain", "aria-label": t("console.remove_n", { n: i + 1 }), onclick: () => { form.items.splice(i, 1); keep(); draw(); } }) : null),
          on(t("console.item_title"), "title", { maxlength: "200" }),
          h("div", { class: "grid-small" },
            on(t("console.price"), "amount", { inputmode: "decimal", disabled: fixed() }, `items[${i}].price.amount`),
            on(t("console.currency"), "currency", { options: [...new Set([...CURRENCIES, item.currency])].map((each) => [each, each]), disabled: fixed() }, `items[${i}].price.currency`),
            on(t("console.stock"), "stock", { inputmode: "numeric" }),
            on(t("console.per_buyer"), "per_buyer", { inputmode: "numeric", disabled: fixed(), hint: t("console.per_buyer_hint") })),
          item.id ? null : on(t("console.group"), "limit_group", { hint: t("console.group_hint"), maxlength: "60" }));
      }),
      state.sale ? h("p", { class: "soft small" }, t("console.items_fixed")) : button(t("console.add_item"), { disabled: form.items.length >= ITEMS_MAX, onclick: () => { form.items.push(newItem()); keep(); draw(); main.querySelector(`#f-title-${form.items.length - 1}`)?.focus(); } }),
    ];
  }
  function protection() {
    return [
      field(t("console.challenge"), { name: "challenge", value: state.form.challenge, error: at("policy.challenge"), hint: t(`console.challenge_${state.form.challenge}_hint`), options: ["none", "arithmetic", "slider", "proof_of_work"].map((each) => [each, t(`console.challenge_${each}`)]), oninput: (event) => change("challenge", event.target.value) }),
      h("div", { class: "grid" },
        input(t("console.payment_minutes"), "payment_window_minutes", { inputmode: "decimal", hint: t("console.payment_hint") }, "policy.payment_window_seconds"),
        input(t("console.pass_seconds"), "pass_ttl_seconds", { inputmode: "numeric", hint: t("console.pass_hint") }, "policy.pass_ttl_seconds")),
      h("fieldset", { class: "stack" }, h("legend", {}, t("console.limits")), h("p", { class: "soft small" }, t("console.limits_hint")),
        h("div", { class: "grid" },
          input(t("console.per_buyer_minute"), "per_buyer_per_minute", { inputmode: "numeric" }, "policy.limits.per_buyer_per_minute"),
          input(t("console.per_address_minute"), "per_address_per_minute", { inputmode: "numeric" }, "policy.limits.per_address_per_minute"),
          input(t("console.per_sale_second"), "per_sale_per_second", { inputmode: "numeric" }, "policy.limits.per_sale_per_second"))),
      tick(t("console.invite_only"), "invite_only", t("console.invite_hint")),
      tick(t("console.waitlist"), "waitlist", t("console.waitlist_hint")),
      state.form.waitlist ? input(t("console.waitlist_until"), "waitlist_until", { type: "datetime-local", hint: t("console.waitlist_until_hint") }, "policy.waitlist_until") : null,
    ];
  }
  function room() {
    return [
      h("p", { class: "soft" }, t("console.room_text")),
      tick(t("console.room_on"), "room", t("console.room_hint")),
      state.form.room ? h("div", { class: "grid" },
        input(t("console.admit"), "admit_per_second", { inputmode: "decimal", hint: t("console.admit_hint") }, "policy.waiting_room.admit_per_second"),
        input(t("console.active_max"), "active_max", { inputmode: "numeric", hint: t("console.active_hint") }, "policy.waiting_room.active_max"),
        input(t("console.opens_before"), "opens_before_minutes", { inputmode: "numeric", hint: t("console.opens_before_hint") }, "policy.waiting_room.opens_before_seconds"),
        input(t("console.factor"), "factor", { inputmode: "decimal", hint: t("console.factor_hint") }, "policy.waiting_room.factor")) : null,
    ];
  }
  function review() {
    const list = checklist(state);
    const draft = !state.sale || state.sale.state === "draft";
    return [
      h("section", { class: "stack", "aria-labelledby": "check-title" }, h("h3", { id: "check-title" }, t("console.checklist")),
        h("ul", { class: "console-checklist" }, list.map((each) => h("li", { key: each.key }, badge(t(`console.level_${each.level}`), each.level), h("span", {}, each.text), each.step === undefined ? null : button(t("console.change"), { kind: "plain", "aria-label": `${t("console.change")}: ${each.text}`, onclick: () => move(each.step) }))))),
      h("section", { class: "stack", "aria-labelledby": "preview-title" }, h("h3", { id: "preview-title" }, t("console.preview")), preview(state.form)),
      h("div", { class: "row" },
        draft ? button(t("console.publish"), { kind: "main", busy: state.busy === "publish", disabled: !ready(list), onclick: publish }) : null,
        button(t(draft ? "console.save_draft" : "core.save"), { kind: draft ? "" : "main", busy: state.busy === "save", onclick: saveDraft })),
      draft && !ready(list) ? h("p", { class: "soft small" }, t("console.not_ready")) : null,
    ];
  }

  function draw() {
    if (state.gone) return;
    const name = fresh ? t("console.new_sale") : t("console.edit_sale", { title: state.sale?.title ?? "" });
    title(name);
    const bodies = [details, items, protection, room, review];
    render(main, h("div", { class: "stack-loose console-editor", key: `editor-${params.id ?? "new"}` },
      h("div", { class: "stack-tight" }, h("p", {}, h("a", { href: fresh ? "/console/sales" : `/console/sales/${params.id}` }, `‹ ${fresh ? t("console.sales") : state.sale?.title ?? t("console.sale")}`)), h("h1", {}, name)),
      state.error ? failureOf() : state.form === null ? loading(t("core.loading"), 6) : [
        steps(t("console.steps"), STEPS.map((each) => t(`console.step_${each}`)), state.step),
        h("form", { class: "stack", novalidate: true, key: `step-${state.step}`, onsubmit: (event) => { event.preventDefault(); if (state.step < 4) next(); } },
          h("h2", {}, t(`console.step_${STEPS[state.step]}`)), bodies[state.step](),
          h("div", { class: "row-between console-moves" },
            state.step > 0 ? button(t("core.back"), { onclick: () => move(state.step - 1) }) : h("span"),
            state.step < 4 ? button(t("console.next"), { kind: "main", type: "submit" }) : null)),
        fresh ? h("p", { class: "row small soft" }, state.saved ? t("console.kept_here") : "", button(t("console.start_over"), { kind: "plain", onclick: startOver })) : null,
      ]));
  }
  const failureOf = () => (state.error.status === 404 ? empty(t("console.gone_title"), t("problem.not_found")) : failure(state.error, load));
  async function startOver() {
    if (!(await confirm(t("console.start_over_title"), t("console.start_over_text"), t("console.start_over")))) return;
    forget();
    Object.assign(state, { form: blank(), faults: {}, tried: false, saved: null });
    move(0);
  }

  const stop = onLanguage(draw);
  draw();
  load();
  return () => { state.gone = true; stop(); };
}

/** Only what is different, and allowed to be: a live sale's start and prices are fixed. */
function changes(state) {
  const before = bodyOf(formOf(state.sale), true);
  const after = bodyOf(state.form, true);
  const differs = (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]);
  const changed = Object.fromEntries(["title", "starts_at", "ends_at"].filter(differs).map((name) => [name, after[name]]));
  if (differs("policy")) changed.policy = differing(before.policy, after.policy);
  const items = after.items.filter((item, i) => JSON.stringify(item) !== JSON.stringify(before.items[i])).map((item) => {
    const old = before.items.find((each) => each.id === item.id);
    return Object.fromEntries(Object.entries(item).filter(([name, value]) => name === "id" || JSON.stringify(value) !== JSON.stringify(old[name])));
  });
  if (items.length) changed.items = items;
  return changed;
}

/** What buyers will see, before there is a page of it. */
export function preview(form) {
  const starts = fromLocal(form.starts_at);
  return card({ class: "console-preview", "aria-label": t("console.preview") },
    h("p", { class: "small soft" }, t("console.preview_text")),
    h("h2", {}, form.title.trim() || t("console.title")),
    starts ? h("p", { class: "countdown console-countdown" }, h("sl-countdown", { until: starts })) : null,
    starts ? h("p", { class: "soft" }, t("console.preview_opens", { at: dateTime(starts) })) : null,
    form.items.map((item, i) => h("div", { class: "row-between console-preview-item", key: i },
      h("span", { class: "strong" }, item.title.trim() || t("console.item_n", { n: i + 1 })),
      h("span", {}, /^\d+(\.\d+)?$/.test(item.amount) ? money({ amount: item.amount, currency: item.currency }) : "—"))),
    h("ul", { class: "rules small" },
      h("li", {}, t("console.preview_limit", { n: form.items[0]?.per_buyer || 1 })),
      h("li", {}, t("console.preview_pay", { span: span(Number(form.payment_window_minutes || 0) * 60) })),
      form.challenge !== "none" ? h("li", {}, t("console.preview_challenge")) : null,
      form.invite_only ? h("li", {}, t("console.preview_invite")) : null,
      form.room ? h("li", {}, t("console.preview_room")) : null,
      form.waitlist ? h("li", {}, t("console.preview_waitlist")) : null));
}

/** Of rules within rules those that differ: the others may have been changed by somebody meanwhile. */
function differing(before, after) {
  return Object.fromEntries(Object.entries(after).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name]))
    .map(([name, value]) => [name, value !== null && typeof value === "object" ? differing(before[name], value) : value]));
}
