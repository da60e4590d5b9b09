// Who is here. The session itself is a cookie that no script can read; a mark in localStorage says
// that asking for it is worth a request.
import { ApiError, del, get, onStranger, post, useCsrf, useToken } from "./api.js";

const MARK = "sluice.session";
const ADMIN = "sluice.admin-token";
const heard = new Set();
let asked = null;
let buyer = null;
let settled = false;

const marked = () => { try { return localStorage.getItem(MARK) !== null; } catch { return true; } };
function mark(on) {
  try { if (on) localStorage.setItem(MARK, "1"); else localStorage.removeItem(MARK); } catch { /* private mode */ }
}

function become(next) {
  settled = true;
  const changed = (next?.id ?? null) !== (buyer?.id ?? null);
  buyer = next;
  mark(next !== null);
  if (changed) for (const tell of heard) tell(next);
  return next;
}

/** The buyer {id, login|phone, roles}, or null. Asked once; throws ApiError where nobody answers. */
export function me({ again = false } = {}) {
  if (asked && !again) return asked;
  if (!marked() && !again) return Promise.resolve(null);
  asked = get("/v1/me").then(
    (said) => { useCsrf(said.csrf ?? null); return become(said.buyer); },
    (error) => {
      asked = null;
      settled = true;
      if (error instanceof ApiError && error.status === 401) return become(null);
      throw error;
    },
  );
  return asked;
}

/** Whether somebody is logged in, or very likely is and is being asked for. */
export const isExpected = () => buyer !== null || (marked() && !settled);
/** As it is known now, without asking. */
export const current = () => buyer;
/** Calls `tell(buyer or null)` whenever that changes. Returns how to stop. */
export function onSession(tell) {
  heard.add(tell);
  return () => heard.delete(tell);
}

const ends = new Set();
/** Calls `tell()` when the session has ended, and not by logging out here. */
export function onLost(tell) { ends.add(tell); }

/** `given` is {phone, code, request} or {login, password}. Throws ApiError. */
export async function logIn(given) {
  const said = await post("/v1/login", { ...given, cookie: true });
  useCsrf(said.csrf);
  asked = Promise.resolve(said.buyer);
  return become(said.buyer);
}

export const register = (login, password) => post("/v1/accounts", { login, password });
/** Answers the word that has to come with the code. */
export const sendCode = async (phone) => (await post("/v1/login/code", { phone, bind: true })).request;

export async function logOut() {
  try {
    await del("/v1/session");
  } catch (error) {
    if (error.status !== 401) throw error;
  }
  buyer = null;
  lost();
  for (const tell of heard) tell(null);
}

onStranger(() => { if (buyer) lost(); });

/** The session has ended elsewhere. */
export function lost() {
  if (buyer) for (const tell of ends) tell();
  asked = null;
  useCsrf(null);
  become(null);
}

/** The admin's own token, typed in by hand: kept for this tab alone. */
export function useAdminToken(text) {
  useToken(text);
  try { if (text) sessionStorage.setItem(ADMIN, text); else sessionStorage.removeItem(ADMIN); } catch { /* then for this page */ }
}
export function restoreAdminToken() {
  try { useToken(sessionStorage.getItem(ADMIN)); } catch { /* none */ }
}

addEventListener("storage", (event) => {
  if (event.key === MARK) me({ again: true }).catch(() => {});
});
