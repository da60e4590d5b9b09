// What must not be missed: on the page, in the tab's title, and by the browser where it may.
import { toast } from "../components/basic.js";
import { flag } from "../components/frame.js";
import { announce } from "../core/dom.js";

export const canAsk = () => "Notification" in globalThis && Notification.permission === "default";
export const isAllowed = () => "Notification" in globalThis && Notification.permission === "granted";
/** Only ever after a click of the buyer's. */
export async function ask() {
  try { return (await Notification.requestPermission()) === "granted"; } catch { return false; }
}

export function tell(title, text, path) {
  toast(`${title} ${text}`);
  announce(`${title} ${text}`, true);
  if (document.visibilityState === "visible") return;
  flag(`● ${title}`);
  if (!isAllowed()) return;
  try {
    const shown = new Notification(title, { body: text, tag: path });
    shown.onclick = () => { focus(); if (location.pathname !== path) location.assign(path); };
  } catch { /* some browsers only know them from a worker */ }
}

addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") flag(null);
});
