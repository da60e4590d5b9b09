// Words by key, in English and Simplified Chinese: `t("sale.left", {n: 3})`. A word is a text with
// {places}, or a function of the values. Each area brings its own with `register`.

const KEPT = "sluice.language";
const words = { en: {}, zh: {} };
const heard = new Set();

function chosen() {
  const kept = read(KEPT);
  if (kept === "en" || kept === "zh") return kept;
  for (const wanted of navigator.languages ?? [navigator.language]) {
    if (/^zh\b/i.test(wanted)) return "zh";
    if (/^en\b/i.test(wanted)) return "en";
  }
  return "en";
}

let now = chosen();
document.documentElement.lang = tag();

function read(name) {
  try { return localStorage.getItem(name); } catch { return null; }
}

export const language = () => now;
/** For Intl, and for `lang`. */
export function tag() { return now === "zh" ? "zh-CN" : "en"; }

export function register({ en, zh }) {
  Object.assign(words.en, en);
  Object.assign(words.zh, zh);
}

export function t(key, values = {}) {
  const found = words[now][key] ?? words.en[key];
  if (found === undefined) return key;
  if (typeof found === "function") return found(values);
  return found.replace(/\{(\w+)\}/g, (all, name) => (name in values ? String(values[name]) : all));
}

/** Whether there are words for a key: for codes that come from outside. */
export const has = (key) => key in words[now] || key in words.en;

export function setLanguage(next) {
  now = next;
  try { localStorage.setItem(KEPT, next); } catch { /* then it lasts as long as the page */ }
  document.documentElement.lang = tag();
  formats.clear();
  for (const tell of heard) tell(next);
}

/** Called after every change of language; render again. Returns how to stop. */
export function onLanguage(tell) {
  heard.add(tell);
  return () => heard.delete(tell);
}

const formats = new Map();
function format(kind, options, make) {
  const name = kind + JSON.stringify(options);
  if (!formats.has(name)) formats.set(name, make());
  return formats.get(name);
}
const dates = (options) => format("date", options, () => new Intl.DateTimeFormat(tag(), options));

export const number = (n, options = {}) => format("number", options, () => new Intl.NumberFormat(tag(), options)).format(n);
/** "10:14" in the reader's own time zone; `seconds` for "10:14:05". */
export function clockTime(when, seconds = false) {
  return dates({ hour: "2-digit", minute: "2-digit", ...(seconds ? { second: "2-digit" } : {}), hourCycle: "h23" }).format(new Date(when));
}
/** "Sat 21 Nov, 10:00" */
export const dateTime = (when) => dates({ weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(new Date(when));
/** The time alone where it is today, else with its date. */
export function nearTime(when) {
  const day = (at) => new Date(at).toDateString();
  return day(when) === day(Date.now()) ? clockTime(when) : dateTime(when);
}
/** "4:05", "1:02:09", "3 d 04:05:06": what is left, rounded up, so that zero means over. */
export function remaining(ms) {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [days, hours, minutes, seconds] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60, s % 60];
  if (days) return `${t("core.days", { n: days })} ${two(hours)}:${two(minutes)}:${two(seconds)}`;
  if (hours) return `${hours}:${two(minutes)}:${two(seconds)}`;
  return `${minutes}:${two(seconds)}`;
}
/** "15 minutes", "1 hour", "30 seconds": how long something takes, in words. */
export function span(seconds) {
  const [n, unit] = seconds < 90 ? [Math.round(seconds), "second"] : seconds < 5400 ? [Math.round(seconds / 60), "minute"] : seconds < 172800 ? [Math.round(seconds / 3600), "hour"] : [Math.round(seconds / 86400), "day"];
  return number(n, { style: "unit", unit, unitDisplay: "long" });
}
/** "1–3 minutes": a stretch of which only the ends are known, in the unit of its longer end. */
export function spanRange(low, high) {
  const [unit, size] = high < 90 ? ["second", 1] : high < 5400 ? ["minute", 60] : ["hour", 3600];
  const [least, most] = [Math.max(1, Math.floor(low / size)), Math.max(1, Math.ceil(high / size))];
  const last = number(most, { style: "unit", unit, unitDisplay: "long" });
  return least >= most ? last : `${number(least)}–${last}`;
}
/** 1st, 2nd, 37th. Chinese says 第 37. */
export function ordinal(n) {
  if (now === "zh") return number(n);
  const suffix = { one: "st", two: "nd", few: "rd", other: "th" };
  return number(n) + suffix[format("ordinal", {}, () => new Intl.PluralRules("en", { type: "ordinal" })).select(n)];
}
export const plural = (n, one, other) => (format("plural", {}, () => new Intl.PluralRules("en")).select(n) === "one" ? one : other);
