// What every page of the console and of the operator is made of: who may come in, a page that loads,
// grows old and says so, forms in dialogs, and commands.
import "../components/live.js";
import { button, card, dialog, empty, explain, failure, field, loading, notice, toast } from "../components/basic.js";
import { title } from "../components/frame.js";
import { ApiError, get, hasToken } from "../core/api.js";
import * as clock from "../core/clock.js";
import { announce, h, render } from "../core/dom.js";
import { onLanguage, t } from "../core/i18n.js";
import { current, lost, me, onSession, useAdminToken } from "../core/session.js";

const STALE_S = 45;
let serial = 0;

/** Whether somebody is in: {in: true}, or {in: false, buyer}. Asked of the session, or a token. */
export async function whoIsIn() {
  if (hasToken()) return { in: true, token: true };
  const buyer = await me();
  const may = buyer?.roles?.some((role) => role === "merchant" || role === "admin") ?? false;
  return { in: may, buyer };
}
export const isAdmin = () => hasToken() || (current()?.roles?.includes("admin") ?? false);

/** The way in: a person's log-in, or the admin's own token. `then()` once somebody is in. */
export function entrance(main, intro, then) {
  const state = { way: "person", token: "", said: null, busy: false };
  title(t("console.log_in"));
  async function useIt(event) {
    event.preventDefault();
    if (state.busy || !state.token.trim()) return;
    state.busy = true;
    draw();
    useAdminToken(state.token.trim());
    try {
      await get("/v1/admin/sales?limit=1");
      stop();
      then();
      return;
    } catch (error) {
      useAdminToken(null);
      state.said = error.status === 401 || error.status === 403 ? t("console.token_wrong") : explain(error);
    }
    state.busy = false;
    draw();
  }
  function draw() {
    const buyer = current();
    const turned = buyer !== null && !hasToken();
    render(main, h("div", { class: "stack console-entrance", key: "entrance" },
      turned ? [h("h1", {}, t("console.not_yours")), notice("warn", t("console.not_yours_title", { who: buyer.login ?? buyer.phone ?? buyer.id }), t("console.not_yours_text"))] : null,
      state.way === "person" && !turned ? card({}, h("sl-login", { heading: "h1", intro })) : null,
      state.way === "token" ? card({}, h("h1", {}, t("console.token_title")), h("p", { class: "soft" }, t("console.token_text")),
        h("form", { class: "stack", onsubmit: useIt },
          field(t("console.token"), { name: "token", type: "password", autocomplete: "off", spellcheck: "false", value: state.token, error: state.said, oninput: (event) => { state.token = event.target.value; } }),
          button(t("console.token_use"), { kind: "main", type: "submit", busy: state.busy, wide: true }))) : null,
      button(t(state.way === "person" ? "console.use_token" : "console.use_person"), { kind: "plain", onclick: () => { state.way = state.way === "person" ? "token" : "person"; state.said = null; draw(); } })));
  }
  const stops = [onLanguage(draw), onSession(() => { stop(); then(); })];
  const stop = () => stops.forEach((each) => each());
  draw();
  return stop;
}

/** A page that asks for something and shows it. `load(page)` answers the data; `view(page)` shows
 * `page.data`; `actions(page)` stand beside the heading; `every`: ms after which it asks again while
 * it is looked at. What is there stays when asking fails, and says how old it is. */
export function sheet(main, { name, load, view, actions = () => null, back = null, every = 0, stale = STALE_S, age = true, lead = () => null }) {
  const page = { data: null, at: null, error: null, asking: false, busy: null, gone: false, ui: {}, main };
  const key = `sheet-${(serial += 1)}`;
  let timer = 0;

  page.draw = () => {
    if (page.gone) return;
    title(name(page));
    render(main, h("div", { class: "stack-loose", key }, head(), body()));
  };
  const head = () => h("div", { class: "stack-tight console-head" },
    back ? h("p", { class: "no-print" }, h("a", { href: back.href }, `‹ ${back.label()}`)) : null,
    h("div", { class: "row-between" }, h("h1", {}, name(page)), h("div", { class: "row no-print" }, page.data === null ? null : actions(page))),
    lead(page),
    age && page.at ? h("p", { class: "row small soft no-print" }, h("sl-age", { at: page.at, stale }),
      button(t("console.refresh"), { kind: "plain", size: "small", busy: page.asking, onclick: () => page.reload() })) : null);
  const body = () => {
    if (page.error && page.data === null) return wrong(page.error);
    if (page.data === null) return loading(t("core.loading"), 6);
    return [page.error ? notice("warn", t("console.stale_title"), explain(page.error), { role: "status", actions: [button(t("core.try_again"), { onclick: () => page.reload() })] }) : null, view(page)];
  };
  const wrong = (error) => {
    if (error.status === 403) return notice("warn", t("console.forbidden_title"), t("console.forbidden_text"), { role: "alert" });
    if (error.status === 404) return empty(t("console.gone_title"), t("problem.not_found"), back ? button(back.label(), { href: back.href }) : null);
    return failure(error, () => page.reload());
  };

  page.reload = async () => {
    clearTimeout(timer);
    if (page.gone) return;
    page.asking = true;
    if (page.data !== null || page.error !== null) page.draw();
    try {
      const data = await load(page);
      if (page.gone) return;
      Object.assign(page, { data, error: null, at: new Date(clock.now()).toISOString() });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (page.gone) return;
      page.error = error;
      if (error.status === 401) { useAdminToken(null); lost(); location.reload(); }
    } finally {
      page.asking = false;
    }
    page.draw();
    plan();
  };
  // Who has asked for more of a list must not find it short again while reading.
  const plan = () => { if (every) timer = setTimeout(() => (page.data?.grown ? plan() : document.visibilityState === "visible" ? page.reload() : wait()), page.error ? every * 2 : every); };
  const wait = () => document.addEventListener("visibilitychange", () => page.reload(), { once: true });

  /** A command: one at a time, told when it is done, and the page is asked anew. */
  page.run = async (name_, work, done) => {
    if (page.busy) return false;
    page.busy = name_;
    page.draw();
    try {
      const answer = await work();
      if (done) { toast(done); }
      return answer ?? true;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      toast(saidWhy(error));
      announce(saidWhy(error), true);
      return false;
    } finally {
      page.busy = null;
      page.draw();
      await page.reload();
    }
  };
  page.set = (values) => { Object.assign(page.ui, values); page.draw(); };

  const stop = onLanguage(page.draw);
  page.draw();
  page.reload();
  return () => { page.gone = true; clearTimeout(timer); stop(); };
}

/** A refusal in words, with what the server says of it where that tells more. */
export function saidWhy(error) {
  if (error.errors.length) return error.errors.map(({ field: name, message }) => `${name} ${message}`).join("; ");
  return error.code === "conflict" ? error.problem.detail ?? explain(error) : explain(error);
}

/** A form in a dialog. fields: [{name, label, value?, hint?, options?, rows?, type?, required?}].
 * `send(values)` does it; where it is refused the dialog stays, with the reason at its field. Resolves
 * to what `send` answered, or null. */
export async function ask(heading, text, fields, yes, send, { kind = "main" } = {}) {
  const values = Object.fromEntries(fields.map((each) => [each.name, each.value ?? ""]));
  let faults = {};
  let said = null;
  let busy = false;
  let answer = null;
  const box = h("form", { class: "stack", "data-own": true, onsubmit: (event) => { event.preventDefault(); box.closest("dialog").querySelector(".dialog-actions .button:last-child").click(); } });
  const draw = () => render(box, [
    text ? h("p", {}, text) : null,
    ...fields.map(({ name, label, hint, options, rows, required, check: isCheck, ...input }) => (isCheck
      ? h("div", { class: "check" }, h("input", { type: "checkbox", id: `a-${name}`, name, checked: Boolean(values[name]), onchange: (event) => { values[name] = event.target.checked; } }), h("label", { for: `a-${name}` }, label))
      : field(label, { ...input, name, id: `a-${name}`, hint, options, rows, value: values[name], error: faults[name], "aria-required": required ? "true" : null, oninput: (event) => { values[name] = event.target.value; if (faults[name]) { delete faults[name]; draw(); } } }))),
    said ? h("p", { class: "field-error", role: "alert" }, said) : null,
  ]);
  draw();
  await dialog(heading, box, [{ label: t("core.back"), value: false }, { label: yes, value: true, kind }], {
    onvalue: async (value) => {
      if (!value) return true;
      if (busy) return false;
      faults = Object.fromEntries(fields.filter((each) => each.required && !String(values[each.name]).trim()).map((each) => [each.name, t("console.needed")]));
      said = null;
      if (!Object.keys(faults).length) {
        busy = true;
        try {
          answer = (await send({ ...values })) ?? true;
          return true;
        } catch (error) {
          if (!(error instanceof ApiError)) throw error;
          const names = new Set(fields.map((each) => each.name));
          for (const { field: name, message } of error.errors) { if (names.has(name)) faults[name] = message; else said = `${name} ${message}`; }
          if (!error.errors.length) said = saidWhy(error);
        } finally {
          busy = false;
        }
      }
      draw();
      box.querySelector("[aria-invalid=true]")?.focus();
      return false;
    },
  });
  return answer;
}

/** Something that is shown once: a secret or a key, to be copied. */
export function showOnce(heading, text, secret) {
  const box = h("div", { class: "stack", "data-own": true }, h("p", {}, text),
    h("output", { class: "console-secret", tabindex: "0", "aria-label": heading }, secret),
    h("div", { class: "row" }, button(t("console.copy"), { onclick: async () => { try { await navigator.clipboard.writeText(secret); toast(t("console.copied")); } catch { toast(t("console.copy_failed")); } } })));
  return dialog(heading, box, [{ label: t("console.kept_it"), value: true, kind: "main" }]);
}

/** Pages of a list: `page.data` is {rows, next}. */
export async function pages(path, query = {}) {
  const said = await get(withQuery(path, query));
  return { rows: said.data, next: said.next_cursor };
}
export function withQuery(path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}
/** The button at a list's end. */
export function more(page, path, query = {}) {
  const { next } = page.data;
  if (!next) return null;
  return h("div", { class: "pager" }, button(t("core.more"), { busy: page.busy === "more", onclick: async () => {
    page.busy = "more";
    page.draw();
    try {
      const found = await pages(path, { ...query, cursor: next });
      page.data = { ...page.data, grown: true, rows: [...page.data.rows, ...found.rows], next: found.next };
    } catch (error) {
      toast(saidWhy(error));
    }
    page.busy = null;
    page.draw();
  } }));
}

/** A file: by its link where the cookie goes along, else fetched with the token. */
export async function download(path, name) {
  let token = null;
  try { token = sessionStorage.getItem("sluice.admin-token"); } catch { /* none */ }
  let href = path;
  if (token) {
    const answer = await fetch(path, { headers: { authorization: `Bearer ${token}` } });
    if (!answer.ok) { toast(t("core.failed_title")); return; }
    href = URL.createObjectURL(await answer.blob());
  }
  const link = h("a", { href, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  if (href !== path) setTimeout(() => URL.revokeObjectURL(href), 10_000);
}

/** RFC 3339 for an <input type=datetime-local>, in the reader's own time zone, and back. */
export function localInput(when) {
  if (!when) return "";
  const at = new Date(when);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
export const fromLocal = (text) => (text && !Number.isNaN(Date.parse(text)) ? new Date(text).toISOString() : null);

export const STATE_KINDS = {
  draft: "", scheduled: "waiting", live: "accent", paused: "warn", ended: "",
  queued: "waiting", awaiting_payment: "waiting", paid: "good", expired: "", cancelled: "", rejected: "bad", refunding: "waiting", refunded: "",
  active: "good", off: "bad", pending: "waiting", delivered: "good", failed: "bad", revoked: "", expired_key: "",
  captured: "good", none: "", void: "", sent: "waiting", completed: "good",
};
