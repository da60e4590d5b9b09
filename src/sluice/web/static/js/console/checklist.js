// What is missing or risky about a sale before it is published.
import * as clock from "../core/clock.js";
import { dateTime, number, t } from "../core/i18n.js";
import { fromLocal } from "./kit.js";
import { faultsIn } from "./editor.js";

const LONG_MS = 7 * 86_400_000;
const CROWD = 200;

/** [{key, level: "bad"|"warn"|"good", text, step?}]; what is bad has to be mended first. */
export function checklist({ form, health }) {
  const found = [];
  const tell = (level, key, step, values) => found.push({ key, level, step, text: t(`console.check_${key}`, values) });
  const faults = Object.keys(faultsIn(form));
  const starts = Date.parse(fromLocal(form.starts_at) ?? "");
  const ends = Date.parse(fromLocal(form.ends_at) ?? "");
  const now = clock.now();
  const units = form.items.reduce((sum, item) => sum + (Number(item.stock) || 0), 0);

  if (faults.length) tell("bad", "faults", /^(title|starts|ends)/.test(faults[0]) ? 0 : faults[0].startsWith("items") ? 1 : 2, { n: faults.length });
  if (ends <= now) tell("bad", "over", 0);
  else if (starts <= now) tell("warn", "at_once", 0);
  else if (starts > now) tell("good", "starts", 0, { at: dateTime(starts) });
  if (ends - starts > LONG_MS) tell("warn", "long", 0);
  if (units === 0) tell("bad", "no_stock", 1);
  else if (form.items.some((item) => Number(item.stock) === 0)) tell("warn", "some_no_stock", 1);
  else tell("good", "stock", 1, { n: number(units) });
  if (form.items.some((item) => /^0+(\.0+)?$/.test(item.amount.trim()))) tell("warn", "free", 1);
  if (health?.payments?.simulated) tell("warn", "simulator");
  else if (health) tell("good", "provider", undefined, { name: health.payments.provider });
  if (form.challenge === "none") tell("warn", "no_challenge", 2);
  else tell("good", "challenge", 2);
  if (String(form.per_buyer_per_minute).trim() === "" || String(form.per_address_per_minute).trim() === "") tell("warn", "no_limits", 2);
  else if (Number(form.per_buyer_per_minute) > 60 || Number(form.per_address_per_minute) > 1200) tell("warn", "wide_limits", 2);
  else tell("good", "limits", 2);
  if (Number(form.payment_window_minutes) < 3) tell("warn", "short_window", 2);
  if (!form.room && units > 0 && units <= CROWD) tell("warn", "no_room", 3);
  if (form.invite_only) tell("warn", "invite", 2);
  if (health && !health.gate.shards.every((shard) => shard.state === "armed")) tell("warn", "gate");
  return found;
}

export const ready = (list) => list.every((each) => each.level !== "bad");
