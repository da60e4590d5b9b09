// Buying, so that it cannot happen twice: a pass is kept until there is a definite answer, and
// whatever is unclear (a cut line, a reload, a 503) is cleared up by sending the same pass again.
import * as api from "../core/api.js";
import { ApiError, pause } from "../core/api.js";
import * as clock from "../core/clock.js";
import { current } from "../core/session.js";
import { keepOrder, keepReceipt } from "./store.js";

const KEPT = "sluice.pass.";
const STARTING_TRIES = 6;

function read(itemId) {
  try { return JSON.parse(sessionStorage.getItem(KEPT + itemId)); } catch { return null; }
}
function keep(itemId, kept) {
  try {
    if (kept) sessionStorage.setItem(KEPT + itemId, JSON.stringify(kept));
    else sessionStorage.removeItem(KEPT + itemId);
  } catch { memory.set(itemId, kept); }
}
const memory = new Map();

/** A purchase of this buyer's of which nobody knows yet what became: its pass was sent, and no
 * answer came. Whoever else used this tab before has nothing to do with it. */
export function unclear(itemId) {
  const kept = read(itemId) ?? memory.get(itemId) ?? null;
  return kept && kept.buyer === current()?.id ? kept : null;
}

/** Asks for a pass and sends it. `answer` is {challenge_id, answer} or null. Resolves to {order} or
 * {waiting: place}; throws ApiError for a definite refusal. `onstep(word)` hears "pass", "buy" and
 * "unclear". It goes on until there is a definite answer, or `signal` says to stop. `renew`: a pass
 * that was never accepted is replaced; not so where nobody has clicked just now. */
export async function buy(sale, item, quantity, answer, { onstep = () => {}, signal, renew = true } = {}) {
  let kept = unclear(item.id);
  for (let renewed = false; ; renewed = true) {
    if (!kept) {
      onstep("pass");
      const said = await askPass(sale, item, answer, signal);
      if (said.status === 202) return { waiting: said.body };
      kept = { pass: said.body.pass, quantity, buyer: current()?.id };
      keep(item.id, kept);
    }
    try {
      return { order: await send(item.id, kept, onstep, signal) };
    } catch (error) {
      // Never accepted, or it would still answer with its order: so a new pass is safe.
      if (error.code !== "bad_pass" || !renew || renewed || answer) throw error;
      kept = null;
    }
  }
}

/** What the server's clock and ours disagree about is over within moments of the start. */
async function askPass(sale, item, answer, signal) {
  const path = `/v1/sales/${sale.id}/items/${item.id}/pass`;
  for (let n = 0; ; n += 1) {
    try {
      // With an answer to a challenge this is no request to repeat: the answer is used up.
      return await api.request("POST", path, { body: answer ?? undefined, repeat: answer === null, whole: true, signal });
    } catch (error) {
      if (error.code !== "not_started" || n >= STARTING_TRIES || Date.parse(error.problem.starts_at) > clock.now() + 65_000) throw error;
      await pause(150 + 200 * n + Math.random() * 150, signal);
    }
  }
}

async function send(itemId, kept, onstep, signal) {
  for (let n = 0; ; n += 1) {
    onstep(n === 0 ? "buy" : "unclear");
    try {
      const said = await api.post(`/v1/buy/${kept.pass}`, { quantity: kept.quantity }, { signal, timeoutMs: 8000 });
      keep(itemId, null);
      memory.delete(itemId);
      keepReceipt(said.order.id, said.receipt);
      return keepOrder(said.order);
    } catch (error) {
      if (signal?.aborted) throw error;
      if (!(error instanceof ApiError) || !(error.passing || error.status >= 500)) {
        if (error.status !== 401) { keep(itemId, null); memory.delete(itemId); }
        throw error;
      }
      await pause(api.backoff(Math.min(n, 4), error.retryAfterMs), signal);
    }
  }
}
