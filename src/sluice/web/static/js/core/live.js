// One WebSocket on /v1/live for the whole page. While it is up nothing is polled; while it is down
// the pollers that were given to `whileDown` run, and once more when it is up again: what happened
// in between must not be missed. States: off (nobody to connect as), stale (so, and polling fails),
// connecting, connected, reconnecting, offline.

const FIRST_MS = 1000;
const LONGEST_MS = 30_000;
const SILENT_MS = 12_000;
const UNSURE_MS = 3000;
const FINAL = new Set([4400, 4401]);

let socket = null;
let state = "off";
let tries = 0;
let timer = 0;
let unsure = 0;
let wanted = false;
let token = null;
let since = 0;
const topics = new Map();
const listeners = new Map();
const watchers = new Set();
const pollers = new Set();

export const liveState = () => state;
/** When the present state began, in ms as Date.now(). */
export const stateSince = () => since;
export const isUp = () => state === "connected";

function become(next) {
  if (next === state) return;
  const before = state;
  state = next;
  since = Date.now();
  for (const tell of [...watchers]) tell(next, before);
  for (const poller of pollers) poller.look(next === "connected" && before !== "connected");
}

/** Connect, with the cookie or with a token of one's own, and stay connected. */
export function connect(own = null) {
  if (wanted && token === own) return;
  disconnect();
  token = own;
  wanted = true;
  become("connecting");
  open();
}

export function disconnect() {
  wanted = false;
  clearTimeout(timer);
  const old = socket;
  socket = null;
  old?.close();
  tries = 0;
  become("off");
}

function open() {
  clearTimeout(timer);
  if (!wanted) return;
  if (navigator.onLine === false) { become("offline"); return; }
  const mine = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/live`);
  socket = mine;
  timer = setTimeout(() => mine.close(), SILENT_MS);
  mine.onopen = () => {
    if (token) mine.send(JSON.stringify({ token }));
    // A cookie that counts is answered at once.
    else unsure = setTimeout(() => { for (const tell of listeners.get("unsure") ?? []) tell(); }, UNSURE_MS);
  };
  mine.onmessage = ({ data }) => {
    if (mine !== socket) return;
    let message;
    try { message = JSON.parse(data); } catch { return; }
    if (message.type === "ready") {
      clearTimeout(timer);
      clearTimeout(unsure);
      tries = 0;
      for (const topic of topics.keys()) mine.send(JSON.stringify({ subscribe: topic }));
      become("connected");
    }
    for (const tell of listeners.get(message.type) ?? []) tell(message.data, message);
    for (const tell of listeners.get("*") ?? []) tell(message.data, message);
  };
  mine.onclose = ({ code }) => {
    if (mine !== socket) return;
    socket = null;
    clearTimeout(timer);
    clearTimeout(unsure);
    if (!wanted) return;
    if (FINAL.has(code)) {
      wanted = false;
      become("off");
      for (const tell of listeners.get("ended") ?? []) tell({ code });
      return;
    }
    become(navigator.onLine === false ? "offline" : "reconnecting");
    const longest = Math.min(FIRST_MS * 2 ** tries, LONGEST_MS);
    tries += 1;
    timer = setTimeout(open, longest / 2 + Math.random() * longest);
  };
}

/** Hear of messages of a type ("order.paid", "*" for all, "ended" when the session is over,
 * "unsure" when it may be). */
export function on(type, tell) {
  if (!listeners.has(type)) listeners.set(type, new Set());
  listeners.get(type).add(tell);
  return () => listeners.get(type).delete(tell);
}

/** Hear of "sale:ID" for as long as somebody wants it. Returns how to stop. */
export function subscribe(topic) {
  const say = (word) => { if (isUp()) socket.send(JSON.stringify({ [word]: topic })); };
  topics.set(topic, (topics.get(topic) ?? 0) + 1);
  if (topics.get(topic) === 1) say("subscribe");
  let stopped = false;
  return () => {
    if (stopped) return;
    stopped = true;
    topics.set(topic, topics.get(topic) - 1);
    if (topics.get(topic) === 0) { topics.delete(topic); say("unsubscribe"); }
  };
}

/** Calls `tell(state, before)` at each change. Returns how to stop. */
export function onState(tell) {
  watchers.add(tell);
  return () => watchers.delete(tell);
}

/** The server has answered otherwise: so it is there, and a long pause has lost its reason. */
function heardOf() {
  if (state === "stale") become("off");
  if (wanted && !socket && state === "reconnecting" && tries > 1) {
    tries = 1;
    clearTimeout(timer);
    timer = setTimeout(open, Math.random() * 2 * FIRST_MS);
  }
}

/** `poll` (async; may answer the ms until next time) runs every `everyMs`, spread, while no socket
 * is up and the page is seen, and once when one has come up again. Returns {now, stop}. */
export function whileDown(poll, everyMs) {
  let due = 0;
  let stopped = false;
  let running = false;
  let healed = false;
  async function step(once = false) {
    clearTimeout(due);
    // What was asked before the socket came up may have been answered before something happened.
    if (running && once) healed = true;
    if (stopped || running) return;
    running = true;
    let after = everyMs;
    try {
      after = (await poll()) || everyMs;
      heardOf();
    } catch {
      after = everyMs * 2;
      // Whoever has no socket is told as well that what they see is from before.
      if (state === "off") become("stale");
    }
    running = false;
    if (healed) { healed = false; step(true); return; }
    if (!once) plan(after);
    else if (!isUp()) plan(after);
  }
  function plan(ms) {
    clearTimeout(due);
    if (!stopped && !isUp()) due = setTimeout(() => { if (document.visibilityState === "visible") step(); else plan(ms); }, ms * (0.85 + Math.random() * 0.3));
  }
  const poller = { look(up) { if (up) step(true); else if (isUp()) clearTimeout(due); else plan(Math.min(everyMs, 1500)); } };
  pollers.add(poller);
  plan(everyMs);
  return { now: () => step(isUp()), stop() { stopped = true; clearTimeout(due); pollers.delete(poller); } };
}

addEventListener("online", () => { if (wanted && !isUp()) { tries = 0; socket?.close(); socket = null; become("reconnecting"); open(); } });
addEventListener("offline", () => { if (wanted) { const old = socket; socket = null; old?.close(); clearTimeout(timer); become("offline"); } });
addEventListener("pageshow", (event) => { if (event.persisted && wanted && !socket) open(); });
addEventListener("visibilitychange", () => {
  // A timer of a page in the background may be slow: do not make somebody who looks wait for it.
  if (document.visibilityState === "visible" && wanted && !socket && state === "reconnecting") { tries = 0; open(); }
});
