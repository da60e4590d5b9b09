// The server's time. Each answer that says it is a sample: the truth lies within the round trip, so
// half of it is taken off, and the sample with the shortest trip of late is believed.

const KEEP_MS = 120_000;
let offset = Date.now() - performance.now();
let trip = Infinity;
let at = -Infinity;
let known = false;

/** `sent` and `received` are performance.now(). A stored answer is too old to tell the time. */
export function sample(serverTime, sent, received) {
  const said = Date.parse(serverTime);
  const took = received - sent;
  if (!Number.isFinite(said) || took < 0) return;
  if (known && took > trip && received - at < KEEP_MS) return;
  offset = said - (sent + took / 2);
  trip = took;
  at = received;
  known = true;
}

/** Milliseconds since 1970 by the server; it does not jump when the device's clock is set. */
export const now = () => performance.now() + offset;
/** Whether the server has been heard. */
export const isKnown = () => known;
/** Believe the next sample, whatever its trip: after the device has slept. */
export function distrust() { trip = Infinity; }

addEventListener("visibilitychange", () => { if (document.visibilityState === "visible") distrust(); });
const ticking = new Set();
let timer = 0;

/** Calls `tell(now)` at each whole second of the server's clock. Returns how to stop. */
export function onSecond(tell) {
  ticking.add(tell);
  tell(now());
  schedule();
  return () => ticking.delete(tell);
}

function schedule() {
  if (timer || !ticking.size) return;
  timer = setTimeout(() => {
    timer = 0;
    const time = now();
    for (const tell of ticking) tell(time);
    schedule();
  }, 1000 - (now() % 1000) + 4);
}

const EARLY_MS = 1000;
const LONG_MS = 3_600_000;
/** Calls `then` when the server's clock reaches `when`, not before. Returns how to stop. */
export function atTime(when, then) {
  const due = typeof when === "number" ? when : Date.parse(when);
  let waiting = 0;
  const step = () => {
    const left = due - now();
    if (left <= 0) then();
    // Timers drift: come near first, then exactly.
    else waiting = setTimeout(step, Math.max(4, Math.min(left > EARLY_MS ? left - EARLY_MS / 2 : left, LONG_MS)));
  };
  waiting = setTimeout(step, 0);
  return () => clearTimeout(waiting);
}
