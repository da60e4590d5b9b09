// The public API. What is refused comes as an ApiError with the problem's `code`; what did not
// arrive at all has the code "offline". Reading is tried again by itself; a command only where
// sending it twice is safe and the caller says so.
import { sample } from "./clock.js";

export class ApiError extends Error {
  constructor(code, status, problem = {}, retryAfterMs = 0) {
    super(problem.detail ?? code);
    this.name = "ApiError";
    this.code = code;
    this.status = status;
    /** The whole problem document, with the code's further members. */
    this.problem = problem;
    /** [{field, message}] where fields are at fault. */
    this.errors = problem.errors ?? [];
    this.retryAfterMs = retryAfterMs;
  }
  /** Whether trying again may help. */
  get passing() { return this.status === 0 || this.status === 503 || this.status === 429 || this.status === 408; }
}

const TRIES_MAX = 4;
const PAUSE_MS = 400;
const PAUSE_MAX_MS = 8000;
const TIMEOUT_MS = 15_000;

let csrf = null;
let token = null;

const strangers = new Set();
/** Called when an answer says that nobody is logged in (any more). */
export function onStranger(tell) { strangers.add(tell); }

/** The word that commands with the cookie need; log in and GET /v1/me give it. */
export function useCsrf(word) { csrf = word; }
/** A bearer token instead of the cookie: for the admin's own. */
export function useToken(text) { token = text || null; }
export const hasToken = () => token !== null;

export const pause = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});

/** How long to wait before try number `n` (from 0): Retry-After where it is said, growing, spread. */
export function backoff(n, retryAfterMs = 0) {
  const base = Math.min(PAUSE_MS * 2 ** n, PAUSE_MAX_MS);
  return Math.max(retryAfterMs, base / 2) + Math.random() * base;
}

/** One request. `repeat`: sending it again is safe, so it is, at most `tries` times or for
 * `withinMs`. Answers the JSON (null for 204); `whole: true` gives {status, body, text, headers}. */
export async function request(method, path, { body, headers = {}, repeat = method === "GET", tries = TRIES_MAX, withinMs = 30_000, signal, whole = false, fresh = true, timeoutMs = TIMEOUT_MS } = {}) {
  const until = performance.now() + withinMs;
  let renewed = false;
  for (let n = 0; ; n += 1) {
    try {
      const answer = await once(method, path, body, headers, signal, fresh, timeoutMs);
      return whole ? answer : answer.body;
    } catch (error) {
      if (signal?.aborted) throw error;
      if (needsCsrf(error, method) && !renewed) {
        renewed = true;
        useCsrf((await once("GET", "/v1/me", undefined, {}, signal, true, timeoutMs)).body.csrf ?? null);
        continue;
      }
      const wait = backoff(n, error.retryAfterMs);
      const again = repeat && error.passing && error.status !== 429 && n + 1 < tries && performance.now() + wait < until;
      if (!again) throw error;
      await pause(wait, signal);
    }
  }
}

const needsCsrf = (error, method) => method !== "GET" && token === null && error.code === "not_allowed" && /CSRF/.test(error.message);

async function once(method, path, body, headers, signal, fresh, timeoutMs) {
  const sent = performance.now();
  const given = { accept: "application/json", ...headers };
  if (body !== undefined) given["content-type"] = "application/json";
  if (token !== null) given.authorization = `Bearer ${token}`;
  else if (method !== "GET" && csrf !== null) given["sluice-csrf"] = csrf;
  const limit = AbortSignal.timeout(timeoutMs);
  let answer;
  let text;
  try {
    answer = await fetch(path, {
      method, headers: given, body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin", cache: fresh ? "no-store" : "default",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("offline", 0, { detail: String(error?.message ?? error) });
  }
  const read = parse(text);
  if (fresh && read?.server_time) sample(read.server_time, sent, performance.now());
  if (answer.ok || answer.status === 304) return { status: answer.status, body: read, text, headers: answer.headers };
  if (answer.status === 401 && token === null && path !== "/v1/login") for (const tell of strangers) tell();
  const retry = Number(answer.headers.get("retry-after"));
  throw new ApiError(read?.code ?? (answer.status >= 500 ? "unavailable" : "internal"), answer.status, read ?? {}, Number.isFinite(retry) ? retry * 1000 : 0);
}

function parse(text) {
  if (!text) return null;
  try { return JSON.parse(text); } catch { return null; }
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body = {}, options) => request("POST", path, { body, ...options });
export const patch = (path, body, options) => request("PATCH", path, { body, ...options });
export const del = (path, options) => request("DELETE", path, options);

/** A command that counts once however often it is sent (admin POSTs): the key goes with it. */
export const postOnce = (path, body = {}, key = crypto.randomUUID(), options = {}) =>
  post(path, body, { repeat: true, ...options, headers: { "idempotency-key": key, ...options.headers } });
