// What the buyer's pages know: sales, own orders, places in line and in waiting rooms. Facts come
// from answers and from the live connection; whoever shows them is told of each change.
import * as api from "../core/api.js";
import * as clock from "../core/clock.js";
import { isUp, on, whileDown } from "../core/live.js";
import { current } from "../core/session.js";

const heard = new Set();
let due = false;

/** Called soon after facts have changed, once for many changes. Returns how to stop. */
export function onChange(tell) {
  heard.add(tell);
  return () => heard.delete(tell);
}
export function changed() {
  if (due) return;
  due = true;
  queueMicrotask(() => { due = false; for (const tell of [...heard]) tell(); });
}

// --- sales --------------------------------------------------------------------------------------

export const sales = new Map();

/** A sale's present JSON; `fresh: false` may take what the shell has preloaded. */
export async function loadSale(id, { fresh = true, ...options } = {}) {
  const path = `/v1/sales/${id}`;
  const sale = await api.get(path, { fresh, ...options });
  if (!fresh) timed(path, sale.server_time);
  return keepSale(sale);
}

/** The shell asked for this before any script ran; the browser has noted when, exactly. */
function timed(path, serverTime) {
  const entry = performance.getEntriesByName(new URL(path, location.href).href).at(-1);
  if (entry?.transferSize > 0 && entry.requestStart > 0) clock.sample(serverTime, entry.requestStart, entry.responseEnd);
  else if (!clock.isKnown()) clock.sample(serverTime, performance.now() - 5000, performance.now());
}

export function keepSale(sale) {
  sales.set(sale.id, { ...sale, knownAt: clock.now() });
  changed();
  return sales.get(sale.id);
}

on("sale.state", (data) => {
  const sale = sales.get(data.id);
  if (!sale) return;
  sales.set(data.id, { ...sale, pause_reason: undefined, ...data, knownAt: clock.now() });
  changed();
});
on("item.state", (data) => {
  const sale = sales.get(data.sale_id);
  if (!sale) return;
  const items = sale.items.map((item) => (item.id === data.id ? { ...item, state: data.state, stock: data.stock, remaining_hint: data.remaining_hint } : item));
  sales.set(sale.id, { ...sale, items, knownAt: clock.now() });
  changed();
});

/** As it is by the clock: a scheduled sale is live from its start on, and over at its end. */
export function stateNow(sale) {
  const now = clock.now();
  if (sale.state === "scheduled" && now >= Date.parse(sale.starts_at)) return now >= Date.parse(sale.ends_at) ? "ended" : "live";
  if (sale.state === "live" && now >= Date.parse(sale.ends_at)) return "ended";
  return sale.state;
}

// --- own orders ---------------------------------------------------------------------------------

export const orders = new Map();
const RECEIPT = "sluice.receipt.";

export function keepOrder(order) {
  const known = orders.get(order.id);
  // An answer that was on its way while a message came may be the older of the two.
  if (known && known.history.length > order.history.length) return known;
  orders.set(order.id, order);
  changed();
  return order;
}

export function keepReceipt(id, receipt) {
  try { sessionStorage.setItem(RECEIPT + id, receipt); } catch { /* it is for rare cases */ }
}
function receiptOf(id) {
  try { const kept = sessionStorage.getItem(RECEIPT + id); return kept ? { "sluice-receipt": kept } : {}; } catch { return {}; }
}

export const askOrder = async (id) => keepOrder(await api.get(`/v1/orders/${id}`, { headers: receiptOf(id) }));
export const cancelOrder = async (id) => keepOrder(await api.post(`/v1/orders/${id}/cancel`, {}, { repeat: true, headers: receiptOf(id) }));
export const startPayment = (id) => api.post(`/v1/orders/${id}/payment`, {}, { repeat: true });

export async function loadOrders(cursor = null) {
  const page = await api.get(`/v1/orders?limit=20${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
  for (const order of page.data) keepOrder(order);
  return page;
}

export const isOpen = (order) => order.state === "queued" || order.state === "awaiting_payment";
export const newestFirst = () => [...orders.values()].sort((a, b) => Date.parse(b.placed_at) - Date.parse(a.placed_at) || Number(b.id) - Number(a.id));
/** The order of an item that matters most: an open one, else the newest. */
export function orderOf(itemId) {
  const all = newestFirst().filter((order) => order.item_id === itemId);
  return all.find(isOpen) ?? all[0] ?? null;
}

for (const type of ["awaiting_payment", "paid", "expired", "cancelled", "rejected", "refunding", "refunded", "payment_due_soon"]) {
  on(`order.${type}`, (order) => keepOrder(order));
}

// --- places -------------------------------------------------------------------------------------

/** By item: the entry of the waitlist. */
export const lines = new Map();
/** By sale: the place in the waiting room. */
export const rooms = new Map();

export function keepLine(itemId, entry) {
  if (entry) lines.set(itemId, entry); else lines.delete(itemId);
  changed();
}
export function keepRoom(saleId, place) {
  if (place) rooms.set(saleId, { ...place, knownAt: clock.now() }); else rooms.delete(saleId);
  changed();
}

on("waitlist.position", (data) => keepLine(data.item_id, data.entry));
on("waitlist.promoted", (data) => {
  const known = lines.get(data.item_id);
  if (known) keepLine(data.item_id, { ...known, state: "promoted", position: null, ahead: null, order_id: data.order.id });
  keepOrder(data.order);
});
on("waiting_room.position", (data) => keepRoom(data.sale_id, data));

const missing = (error) => { if (error.status === 404) return null; throw error; };
export const askLine = async (saleId, itemId) => {
  const said = await api.get(`/v1/sales/${saleId}/items/${itemId}/waitlist`).catch(missing);
  keepLine(itemId, said?.entry ?? null);
};
export const askRoom = async (saleId) => {
  const place = await api.get(`/v1/sales/${saleId}/waiting-room`).catch(missing);
  keepRoom(saleId, place);
  return place;
};

export function forgetBuyer() {
  orders.clear();
  lines.clear();
  rooms.clear();
  changed();
}

// --- while nothing is pushed --------------------------------------------------------------------

const FAST_MS = 2500;
const SLOW_MS = 15_000;

/** Keeps one sale and what the buyer has in it up to date while no socket is up. */
export function follow(saleId) {
  return whileDown(async () => {
    const sale = await loadSale(saleId, { repeat: false });
    const here = [...orders.values()].some((order) => order.sale_id === saleId && isOpen(order));
    if (current()) {
      if (here) await loadOrders();
      for (const item of sale.items.slice(0, 20)) {
        if (sale.policy.waitlist && (item.state === "held" || item.state === "sold_out")) await askLine(saleId, item.id);
      }
      if (rooms.get(saleId)) await askRoom(saleId);
      if ([...lines.values()].some((entry) => entry.state === "promoted" && !orders.has(entry.order_id))) await loadOrders();
    }
    const state = stateNow(sale);
    const soon = state === "scheduled" && Date.parse(sale.starts_at) - clock.now() < 120_000;
    const place = rooms.get(saleId);
    // Only who waits for nothing else goes by the room's own time: an order is asked for sooner.
    if (!here && place?.status === "waiting" && place.poll_after_ms) return place.poll_after_ms;
    return here ? FAST_MS : state === "live" || soon ? 4000 : SLOW_MS;
  }, 4000);
}

/** The same for the orders alone. */
export const followOrders = () => whileDown(async () => {
  await loadOrders();
  return [...orders.values()].some(isOpen) ? 4000 : SLOW_MS;
}, 5000);
export { isUp };
