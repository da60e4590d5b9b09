// Elements that tick by themselves: <sl-countdown>, <sl-age>, <sl-connection>.
import * as clock from "../core/clock.js";
import { announce } from "../core/dom.js";
import { clockTime, number, onLanguage, remaining, span, t } from "../core/i18n.js";
import { liveState, onState, stateSince } from "../core/live.js";

/** `until`: RFC 3339. `say`: key of the words that are announced, with {left}; steps are fewer the
 * more time there is. Sends "over" once it is. */
class Countdown extends HTMLElement {
  static observedAttributes = ["until"];
  connectedCallback() {
    this.setAttribute("role", "timer");
    this.setAttribute("aria-live", "off");
    this.stop = clock.onSecond((now) => this.tick(now));
  }
  disconnectedCallback() { this.stop?.(); }
  attributeChangedCallback() { this.over = false; this.said = null; if (this.stop) this.tick(clock.now()); }
  tick(now) {
    const left = Date.parse(this.getAttribute("until")) - now;
    if (!Number.isFinite(left)) return;
    const text = remaining(left);
    if (this.textContent !== text) this.textContent = text;
    const warn = Number(this.getAttribute("warn")) * 1000;
    this.toggleAttribute("data-soon", left <= warn && left > 0);
    const s = Math.ceil(left / 1000);
    const step = STEPS.find((each) => s <= each);
    if (this.said !== undefined && this.said !== null && step !== this.said && s > 0 && this.getAttribute("say")) announce(t(this.getAttribute("say"), { left: span(step ?? s) }), step <= 60);
    this.said = step ?? 0;
    if (left <= 0 && !this.over) { this.over = true; this.dispatchEvent(new Event("over", { bubbles: true })); }
  }
}
const STEPS = [10, 30, 60, 120, 300, 600, 1800, 3600];

/** How old a figure is: `at` RFC 3339; `stale`: seconds from which it says so louder. */
class Age extends HTMLElement {
  static observedAttributes = ["at"];
  connectedCallback() { this.classList.add("age"); this.stop = clock.onSecond((now) => this.tick(now)); }
  disconnectedCallback() { this.stop?.(); }
  attributeChangedCallback() { if (this.stop) this.tick(clock.now()); }
  tick(now) {
    const at = Date.parse(this.getAttribute("at"));
    if (!Number.isFinite(at)) { this.textContent = t("core.age_never"); return; }
    const s = Math.max(0, Math.round((now - at) / 1000));
    const text = s < 2 ? t("core.age_now") : t("core.age", { span: s < 100 ? t("core.seconds", { n: number(s) }) : span(s) });
    if (this.textContent !== text) this.textContent = text;
    this.toggleAttribute("data-stale", s >= Number(this.getAttribute("stale") || 15));
  }
}

/** Whether we hear from the server; what is shown while we do not, and since when. */
class Connection extends HTMLElement {
  connectedCallback() {
    this.classList.add("connection");
    this.setAttribute("role", "status");
    this.look();
    this.stops = [onState((state, before) => { this.look(); if (state !== "connecting" && before !== "connecting" && before !== "off") announce(this.textContent); }), onLanguage(() => this.look())];
  }
  disconnectedCallback() { for (const stop of this.stops ?? []) stop(); }
  look() {
    const state = liveState();
    this.dataset.state = state;
    this.textContent = t(`core.live_${state}`, { at: clockTime(stateSince() || Date.now(), true) });
  }
}

customElements.define("sl-countdown", Countdown);
customElements.define("sl-age", Age);
customElements.define("sl-connection", Connection);
