// What one buyer does with one item: asks, solves, waits, buys. One of these for each item on show;
// `act` of it is the only way to buy, and it is busy from the click on, so that a second click is none.
import * as api from "../core/api.js";
import { announce } from "../core/dom.js";
import { t } from "../core/i18n.js";
import { current, lost, me } from "../core/session.js";
import { buy, unclear } from "./buy.js";
import { askOrder, changed, keepLine, keepRoom, lines, loadSale, rooms } from "./store.js";

/** Most sales ask none; those that do have it fetched before it is needed. */
export const challenges = () => import("./challenge.js");

export class Deal {
  constructor(sale, item) {
    this.saleId = sale.id;
    this.itemId = item.id;
    this.quantity = 1;
    /** null, or what is being done: "room", "solve", "work", "pass", "buy", "unclear", "line". */
    this.busy = null;
    /** The last refusal, an ApiError. */
    this.refused = null;
    /** By the server's clock, when a refusal said that units are held. */
    this.heldSince = null;
    this.stop = new AbortController();
  }

  step(word) { this.busy = word; changed(); }

  /** After a reload: whatever was under way is brought to its end with the pass of then. */
  resume(sale, item) {
    if (unclear(item.id) && !this.busy && current()) this.run(() => this.purchase(sale, item, null, false));
  }

  /** The buy button. */
  act(sale, item) {
    if (this.busy) return;
    this.run(async () => {
      const place = await this.place(sale);
      if (place === undefined || place?.status === "waiting" || place?.status === "over") return;
      // What the sale asks was asked at the door of the waiting room.
      const answer = place?.status === "admitted" ? undefined : await this.answer(sale);
      if (answer === null) return;
      await this.purchase(sale, item, answer ?? null);
    });
  }

  async purchase(sale, item, answer, renew = true) {
    const said = await buy(sale, item, this.quantity, answer, { onstep: (word) => this.step(word), signal: this.stop.signal, renew });
    if (said.waiting) {
      keepRoom(sale.id, said.waiting);
      announce(t("room.announce_in"));
      return;
    }
    this.refused = null;
    announce(t("order.announce_accepted"), true);
  }

  /** The place in the waiting room, taken by asking; null where there is none to be had, undefined
   * where the buyer would rather not answer what is asked for it. */
  async place(sale) {
    if (!sale.policy.waiting_room?.enabled && !rooms.has(sale.id)) return null;
    this.step("room");
    return enterRoom(sale, { signal: this.stop.signal });
  }

  /** undefined where nothing is asked, null where the buyer would rather not. */
  async answer(sale, failed = false) {
    if (sale.policy.challenge === "none") return undefined;
    this.step(sale.policy.challenge === "proof_of_work" ? "work" : "solve");
    return (await challenges()).solve(sale, { failed, signal: this.stop.signal });
  }

  /** A place at the end of the line for what comes back. */
  join(sale, item) {
    if (this.busy) return;
    this.run(async () => {
      const answer = await this.answer(sale);
      if (answer === null) return;
      this.step("line");
      const said = await api.post(`/v1/sales/${sale.id}/items/${item.id}/waitlist`, answer ?? {}, { repeat: !answer });
      this.refused = null;
      keepLine(item.id, said.entry);
      announce(t("line.announce_in", { n: said.entry.position }));
    });
  }

  leave(sale, item) {
    if (this.busy) return;
    this.run(async () => {
      this.step("line");
      await api.del(`/v1/sales/${sale.id}/items/${item.id}/waitlist`, { repeat: true });
      keepLine(item.id, null);
    });
  }

  async run(work) {
    this.step("start");
    this.refused = null;
    try {
      if (!(await me())) throw new api.ApiError("unauthenticated", 401);
      await work();
    } catch (error) {
      if (this.stop.signal.aborted) return;
      await this.learn(error);
    } finally {
      this.busy = null;
      changed();
    }
  }

  async learn(error) {
    if (!(error instanceof api.ApiError)) throw error;
    this.refused = error;
    if (error.status === 401) lost();
    if (error.problem.order_id) await askOrder(error.problem.order_id).catch(() => {});
    if (error.code === "conflict" && lines.has(this.itemId)) keepLine(this.itemId, { ...lines.get(this.itemId), state: "promoted", order_id: error.problem.order_id ?? null });
    if (["sold_out", "paused", "ended", "available", "not_started"].includes(error.code)) await loadSale(this.saleId).catch(() => {});
    announce(t(`problem.${error.code}`), true);
  }

  close() { this.stop.abort(new DOMException("left", "AbortError")); }
}

/** The same for who only wants to wait. What the sale asks is asked for the place, and once: who has
 * one is not asked again, also after a reload. Throws ApiError. */
export async function enterRoom(sale, { signal } = {}) {
  const path = `/v1/sales/${sale.id}/waiting-room`;
  let answer; // nothing is sent unless the sale asks for something: no body is the quickest
  for (let failed = false; ; failed = true) {
    try {
      const place = await api.request("POST", path, { body: answer, repeat: !answer, signal });
      keepRoom(sale.id, place);
      return place;
    } catch (error) {
      if (error.status === 404 || error.status === 405) { keepRoom(sale.id, null); return null; }
      if (error.code !== "challenge_failed" || sale.policy.challenge === "none") throw error;
      answer = await (await challenges()).solve(sale, { failed: failed && !!answer, signal });
      if (!answer) return undefined;
    }
  }
}

export async function leaveRoom(saleId) {
  await api.del(`/v1/sales/${saleId}/waiting-room`, { repeat: true });
  keepRoom(saleId, null);
}
