// The small set that everything is made of. Each is a function that answers an element; words come
// from the caller. /components shows them in every state.
import { h } from "../core/dom.js";
import { t } from "../core/i18n.js";

let made = 0;
const fresh = (word) => `${word}-${(made += 1)}`;

/** kind: "main" | "danger" | "plain" | "" ; size: "large"; `href` makes it a link. A busy or disabled
 * button keeps the focus and says why it does nothing (`aria-disabled`). */
export function button(label, { kind = "", size = "", wide = false, busy = false, disabled = false, onclick, href, type = "button", ...more } = {}) {
  const name = ["button", kind && `button-${kind}`, size && `button-${size}`, wide && "button-wide"].filter(Boolean).join(" ");
  if (href) return h("a", { class: name, href, ...more }, label);
  const off = disabled || busy;
  return h("button", {
    class: name, type, ...more, "aria-disabled": off ? "true" : null, "aria-busy": busy ? "true" : null,
    onclick: off ? (event) => event.preventDefault() : onclick,
  }, busy ? h("span", { class: "spinner", "aria-hidden": "true" }) : null, label);
}

/** A labelled input. `input` are its attributes (type, value, oninput, autocomplete …); `options`
 * [[value, label]] make it a select, `rows` a textarea. The id is made from `name`. */
export function field(label, { name, hint, error, options, rows, ...input } = {}) {
  const id = input.id ?? `f-${name}`;
  const said = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  const shared = { class: "input", ...input, id, name, "aria-describedby": said || null, "aria-invalid": error ? "true" : null };
  let control;
  if (options) {
    const { value, ...rest } = shared;
    control = h("select", rest, options.map(([key, text]) => h("option", { value: key, selected: String(key) === String(value) }, text)));
  } else if (rows) control = h("textarea", { ...shared, rows });
  else control = h("input", { type: "text", ...shared });
  return h("div", { class: "field" },
    h("label", { for: id }, label),
    hint ? h("span", { class: "field-hint", id: `${id}-hint` }, hint) : null,
    control,
    error ? h("span", { class: "field-error", id: `${id}-error` }, error) : null);
}

/** A box to tick. */
export function check(label, { name, hint, ...input } = {}) {
  const id = input.id ?? `f-${name}`;
  return h("div", { class: "check" },
    h("input", { type: "checkbox", ...input, id, name, "aria-describedby": hint ? `${id}-hint` : null }),
    h("div", {}, h("label", { for: id }, label), hint ? h("div", { class: "field-hint", id: `${id}-hint` }, hint) : null));
}

/** kind: "" | "good" | "warn" | "bad" | "accent" | "waiting"; each has its own mark. */
export const badge = (text, kind = "") => h("span", { class: `badge${kind ? ` badge-${kind}` : ""}` }, text);

export const card = (props, ...children) => h("section", { ...props, class: `card ${props?.class ?? ""}`.trim() }, children);

/** kind as of a badge; `role` "alert" where it must be heard at once. */
export function notice(kind, title, text = null, { role = null, actions = null } = {}) {
  return h("div", { class: `notice${kind ? ` notice-${kind}` : ""}`, role },
    title ? h("p", { class: "notice-title" }, title) : null,
    text ? h(typeof text === "string" ? "p" : "div", {}, text) : null,
    actions ? h("div", { class: "row" }, actions) : null);
}

export function empty(title, text = null, action = null) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), text ? h("p", {}, text) : null, action);
}

export function loading(label = t("core.loading"), lines = 4) {
  return h("div", { class: "loading", role: "status" }, h("span", { class: "visually-hidden" }, label),
    Array.from({ length: lines }, () => h("div", { class: "loading-line", "aria-hidden": "true" })));
}

/** What went wrong, in words, with a way on. `error` is an ApiError. */
export function failure(error, retry = null) {
  return notice("bad", t(error.code === "offline" ? "core.offline_title" : "core.failed_title"), h("div", {}, h("p", {}, explain(error)),
    error.problem?.request_id ? h("p", { class: "small soft" }, t("core.request_id", { id: error.problem.request_id })) : null),
  { role: "alert", actions: retry ? [button(t("core.try_again"), { onclick: retry })] : null });
}

/** A sentence for an ApiError, in the reader's language. */
export function explain(error) {
  const key = `problem.${error.code}`;
  const said = t(key, error.problem ?? {});
  return said === key ? (error.problem?.detail ?? t("problem.internal")) : said;
}

/** A number to be seen from afar. `stale`: the words in `note` say so as well. */
export function figure(label, value, { unit = null, note = null, large = false, stale = false } = {}) {
  return h("div", { class: `figure${large ? " figure-large" : ""}${stale ? " figure-stale" : ""}` },
    h("span", { class: "figure-label" }, label),
    h("span", { class: "figure-value" }, value === null || value === undefined ? "—" : value, unit ? h("span", { class: "figure-unit" }, ` ${unit}`) : null),
    h("span", { class: "figure-note" }, note));
}

/** Parts of a whole: [{name, label, value}], `name` picks the colour (`part-…`). */
export function bar(label, parts, total = parts.reduce((sum, part) => sum + part.value, 0)) {
  const share = (value) => `${total > 0 ? Math.min(100, (100 * value) / total) : 0}%`;
  return h("div", { class: "bar" },
    h("div", { class: "bar-track", role: "img", "aria-label": `${label}: ${parts.map((part) => `${part.label} ${part.value}`).join(", ")}` },
      parts.map((part) => h("div", { class: `bar-part part-${part.name}`, key: part.name, style: { "--share": share(part.value) } }))),
    h("ul", { class: "bar-legend", "aria-hidden": "true" },
      parts.map((part) => h("li", {}, h("span", { class: `bar-key part-${part.name}` }), part.label, " ", h("b", {}, String(part.value))))));
}

/** columns: [{label, cell(row), number?, header?}]; `caption` is heard, and seen unless hidden. */
export function table(caption, columns, rows, { cards = true, hideCaption = true, key = null, none = null } = {}) {
  if (!rows.length && none) return none;
  return h("div", { class: "table-box", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: `table${cards ? " table-cards" : ""}` },
      h("caption", { class: hideCaption ? "visually-hidden" : null }, caption),
      h("thead", {}, h("tr", {}, columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : null }, column.label)))),
      h("tbody", {}, rows.map((row) => h("tr", { key: key ? key(row) : null }, columns.map((column) =>
        h(column.header ? "th" : "td", { scope: column.header ? "row" : null, class: column.number ? "number" : null, "data-label": column.label || null }, column.cell(row))))))));
}

/** steps: labels; `now` counts from 0. */
export const steps = (label, list, now) => h("ol", { class: "steps", "aria-label": label },
  list.map((text, i) => h("li", { class: i < now ? "done" : null, "aria-current": i === now ? "step" : null }, text)));

/** tabs: [{id, label, panel()}]. The one chosen is kept by the caller: `onchoose(id)`. */
export function tabs(label, list, chosen, onchoose) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = list.findIndex((tab) => tab.id === chosen);
    const next = list[(at + step + list.length) % list.length];
    onchoose(next.id);
    document.getElementById(`tab-${next.id}`)?.focus();
  };
  const shown = list.find((tab) => tab.id === chosen) ?? list[0];
  return h("div", {},
    h("div", { class: "tabs", role: "tablist", "aria-label": label, onkeydown: move },
      list.map((tab) => h("button", {
        class: "tab", type: "button", role: "tab", id: `tab-${tab.id}`, key: tab.id, "aria-selected": String(tab === shown),
        "aria-controls": tab === shown ? `panel-${tab.id}` : null, tabindex: tab === shown ? "0" : "-1", onclick: () => onchoose(tab.id),
      }, tab.label))),
    h("div", { class: "tab-panel", role: "tabpanel", id: `panel-${shown.id}`, key: `panel-${shown.id}`, "aria-labelledby": `tab-${shown.id}`, tabindex: "0" }, shown.panel()));
}

/** Words and values: [[word, value], …]; a null value leaves its word out. */
export const facts = (list) => h("dl", { class: "facts" }, list.filter(([, value]) => value !== null && value !== undefined).flatMap(([word, value]) => [h("dt", {}, word), h("dd", {}, value)]));

/** A dialog that is modal; resolves to the chosen action's `value`, or null when it is closed.
 * actions: [{label, value, kind}]. `body` may be a text or an element; a form's fields are read by
 * the caller before (`onvalue(value)` may answer false to keep it open). */
export function dialog(title, body, actions, { onvalue = () => true } = {}) {
  return new Promise((resolve) => {
    const id = fresh("dialog");
    let result = null;
    const before = document.activeElement;
    const choose = async (value) => {
      if ((await onvalue(value)) === false) return;
      result = value;
      box.close();
    };
    const box = h("dialog", { class: "dialog", "aria-labelledby": id, onclose: () => { box.remove(); before?.focus?.(); resolve(result); } },
      h("h2", { id }, title),
      typeof body === "string" ? h("p", {}, body) : body,
      h("div", { class: "dialog-actions" }, actions.map((action) => button(action.label, { kind: action.kind, onclick: () => choose(action.value) }))));
    document.body.append(box);
    box.showModal();
  });
}

/** Yes or no, in the words of what happens. */
export const confirm = (title, text, yes, no = t("core.back"), kind = "danger") =>
  dialog(title, text, [{ label: no, value: false }, { label: yes, value: true, kind }]).then((value) => value === true);

const TOAST_MS = 8000;
/** A message that goes by itself, but not while it is looked at. */
export function toast(text) {
  let place = document.querySelector(".toasts");
  if (!place) document.body.append((place = h("div", { class: "toasts", role: "status", "aria-live": "polite" })));
  const node = h("div", { class: "toast" }, h("span", {}, text), h("button", { type: "button", "aria-label": t("core.close"), onclick: () => node.remove() }, "×"));
  place.append(node);
  const go = () => (node.matches(":hover, :focus-within") ? setTimeout(go, 1000) : node.remove());
  setTimeout(go, TOAST_MS);
}
