// What is around every page: skip link, brand, links, language, theme, connection, foot.
import "../words.js";
import { h, render } from "../core/dom.js";
import { language, onLanguage, setLanguage, t } from "../core/i18n.js";

const THEME = "sluice.theme";
const THEMES = ["auto", "light", "dark"];

function theme() { try { return localStorage.getItem(THEME) ?? "auto"; } catch { return "auto"; } }
function setTheme(next) {
  try { localStorage.setItem(THEME, next); } catch { /* for this page */ }
  applyTheme(next);
}
function applyTheme(name = theme()) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
}
applyTheme();

const mark = () => h("svg", { class: "brand-mark", viewBox: "0 0 24 24", "aria-hidden": "true" },
  h("path", { d: "M4 4v16M20 4v16M4 8h16", stroke: "currentColor", "stroke-width": "2.5", "stroke-linecap": "round", fill: "none" }),
  h("path", { d: "M8 13.5q2-2.2 4 0t4 0M8 18q2-2.2 4 0t4 0", stroke: "currentColor", "stroke-width": "2", "stroke-linecap": "round", fill: "none", opacity: ".65" }));

/** `links()` answers [[href, label]] anew at every call, `title` is the shell's name, `more()` further
 * elements of the bar. Answers {main, refresh}: draw the page into `main`. */
export function frame({ home = "/", brand = "Sluice", links = () => [], more = () => [], width = "" } = {}) {
  const top = document.querySelector("body > header") ?? document.body.insertBefore(h("header"), document.body.firstChild);
  const main = document.getElementById("main");
  top.className = "top";
  main.className = `page${width ? ` page-${width}` : ""}`;
  main.tabIndex = -1;
  let foot = document.querySelector("body > footer");
  if (!foot) document.body.append((foot = h("footer", { class: "foot" })));
  const skip = document.querySelector(".skip");

  function refresh() {
    const path = location.pathname;
    const list = links();
    const best = list.map(([href]) => href).filter((href) => path === href || path.startsWith(`${href === "/" ? "/sales" : href}/`)).sort((a, b) => b.length - a.length)[0];
    if (skip) skip.textContent = t("core.skip");
    render(top, [
      h("a", { class: "brand", href: home }, mark(), typeof brand === "function" ? brand() : brand),
      h("nav", { "aria-label": t("core.pages") },
        list.map(([href, label]) => h("a", { href, key: href, "aria-current": href === best ? "page" : null }, label))),
      h("div", { class: "top-tools" },
        more(),
        h("button", { type: "button", lang: language() === "zh" ? "en" : "zh-CN", key: "language", onclick: () => setLanguage(language() === "zh" ? "en" : "zh") }, language() === "zh" ? "English" : "中文"),
        h("button", { type: "button", key: "theme", title: t("core.theme"), "aria-label": `${t("core.theme")}: ${t(`core.theme_${theme()}`)}`, onclick: () => { setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % 3]); refresh(); } }, { auto: "◐", light: "○", dark: "●" }[theme()])),
    ]);
    render(foot, h("p", {}, t("core.foot")));
  }
  refresh();
  onLanguage(refresh);
  return { main, refresh };
}

let named = document.title;
let flagged = null;
/** The title of the page; the shell's name follows. */
export function title(text) {
  named = text ? `${text} · Sluice` : "Sluice";
  document.title = flagged ?? named;
}
/** What the tab says instead, however often the page is drawn meanwhile; null: its title again. */
export function flag(text) {
  flagged = text;
  document.title = flagged ?? named;
}
