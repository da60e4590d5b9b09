// Elements from plain calls, and a patch that changes only what differs, so that focus, selection
// and what somebody is typing stay where they are. Texts go in as texts, never as HTML.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "path", "rect", "circle", "line", "g", "text", "polyline", "title"]);

/** h("p", {class: "soft", onclick: f}, "text", [more], null). `style` is an object of CSS properties
 * (set through the CSSOM: the policy allows no style attributes); `key` tells equals apart. */
export function h(tag, props, ...children) {
  const node = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  node._on = {};
  node._style = {};
  for (const [name, value] of Object.entries(props ?? {})) set(node, name, value);
  node._given = node.getAttributeNames().filter((name) => name !== "style");
  append(node, children);
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "key") node._key = String(value);
  else if (name.startsWith("on")) listen(node, name, value);
  else if (name === "style") style(node, value);
  else if (name === "value" && "value" in node) { node._value = value; node.value = value; }
  else if (name === "checked") { node._checked = value; node.checked = value; }
  else if (name === "dataset") Object.assign(node.dataset, value);
  else node.setAttribute(name, value === true ? "" : String(value));
}

function listen(node, name, handler) {
  node._on[name] = handler;
  node[name] = handler;
}

function style(node, wanted) {
  for (const [name, value] of Object.entries(wanted)) {
    node._style[name] = value;
    node.style.setProperty(name, value);
  }
}

function append(node, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(node, child);
    else if (child !== null && child !== undefined && child !== false) node.append(child);
  }
}

/** Make `target`'s children equal to `tree` (a node or a list of them). */
export function render(target, tree) {
  const wanted = document.createDocumentFragment();
  append(wanted, [tree]);
  patchChildren(target, [...wanted.childNodes]);
}

function patchChildren(target, wanted) {
  const keyed = new Map();
  const keys = new Set(wanted.map((next) => next._key));
  for (const child of [...target.childNodes]) {
    if (child._key && !keys.has(child._key)) child.remove();
    else if (child._key) keyed.set(child._key, child);
  }
  let at = target.firstChild;
  // Where something has gone, what follows it stays as it is: whoever is on it keeps the focus.
  let spare = target.childNodes.length - wanted.length;
  for (const next of wanted) {
    let found = next._key ? keyed.get(next._key) : at;
    if (!next._key) while (found && found._key) found = found.nextSibling;
    while (!next._key && found === at && at && spare > 0 && !same(at, next)) {
      spare -= 1;
      at = at.nextSibling;
      found.remove();
      found = at;
      while (found && found._key) found = found.nextSibling;
    }
    if (found && same(found, next)) {
      if (found !== at) target.insertBefore(found, at);
      else at = at.nextSibling;
      patch(found, next);
    } else {
      target.insertBefore(next, at);
    }
  }
  while (at) {
    const after = at.nextSibling;
    at.remove();
    at = after;
  }
}

const same = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && a._key === b._key;

function patch(node, next) {
  if (node.nodeType !== Node.ELEMENT_NODE) {
    if (node.data !== next.data) node.data = next.data;
    return;
  }
  // What an element of our own, or a script, has set itself is not ours to take away.
  for (const name of node._given ?? []) {
    const kept = name === "open" && /^(DETAILS|DIALOG)$/.test(node.nodeName);
    if (!kept && !next.hasAttribute(name)) node.removeAttribute(name);
  }
  node._given = next._given;
  for (const { name, value } of next.attributes) {
    if (name !== "style" && node.getAttribute(name) !== value) node.setAttribute(name, value);
  }
  for (const name of Object.keys(node._on ?? {})) if (!(name in (next._on ?? {}))) node[name] = null;
  node._on = {};
  for (const [name, handler] of Object.entries(next._on ?? {})) listen(node, name, handler);
  for (const name of Object.keys(node._style ?? {})) {
    if (!(name in (next._style ?? {}))) node.style.removeProperty(name);
  }
  node._style = {};
  style(node, next._style ?? {});
  // What somebody types is theirs; only a new value of ours replaces it.
  if ("_value" in next && next._value !== node._value) { node._value = next._value; node.value = next._value; }
  if ("_checked" in next && next._checked !== node._checked) { node._checked = next._checked; node.checked = next._checked; }
  // Elements of our own, and what is marked so, look after their own children.
  if (node.nodeName.startsWith("SL-") || node.hasAttribute("data-own")) return;
  patchChildren(node, [...next.childNodes]);
}

/** Say something once to those who cannot see it; `urgent` interrupts. */
export function announce(text, urgent = false) {
  const id = urgent ? "say-now" : "say";
  let place = document.getElementById(id);
  if (!place) {
    place = h("div", { id, class: "visually-hidden", role: urgent ? "alert" : "status", "aria-live": urgent ? "assertive" : "polite" });
    document.body.append(place);
  }
  place.textContent = "";
  setTimeout(() => { place.textContent = text; }, 60);
}
