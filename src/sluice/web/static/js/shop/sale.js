// The page of a sale: the board, the items, the rules, and getting in.
import { badge, button, card, confirm, explain, failure, field, loading, notice } from "../components/basic.js";
import { title } from "../components/frame.js";
import * as api from "../core/api.js";
import * as clock from "../core/clock.js";
import { announce, h, render } from "../core/dom.js";
import { clockTime, dateTime, nearTime, number, onLanguage, ordinal, span, spanRange, t } from "../core/i18n.js";
import { onState, subscribe } from "../core/live.js";
import { money } from "../core/money.js";
import { current, isExpected, me, onSession } from "../core/session.js";
import { Deal, challenges, enterRoom, leaveRoom } from "./deal.js";
import { orderPanel, stateBadge } from "./order.js";
import { ask, canAsk } from "./telling.js";
import { askRoom, follow, isOpen, keepRoom, lines, loadOrders, loadSale, onChange, orderOf, rooms, sales, stateNow } from "./store.js";

const REFINE_BEFORE_MS = 45_000;
const QUANTITIES_MAX = 10;
const FIRST_MS = 400;

export function saleView(main, { params }) {
  const state = { error: null, invited: null, code: "", codeError: null, codeBusy: false, roomBusy: false, roomError: null, said: null };
  const deals = new Map();
  const stops = [];
  let gone = false;
  let alarms = [];
  let alarmsFor = "";

  const deal = (sale, item) => {
    if (!deals.has(item.id)) deals.set(item.id, new Deal(sale, item));
    return deals.get(item.id);
  };

  async function load(first) {
    try {
      const sale = await loadSale(params.id, { fresh: !first });
      state.error = null;
      if (sale.policy.challenge !== "none") challenges().catch(() => {});
      if (!gone) watch(sale);
    } catch (error) {
      state.error = error;
      show();
    }
  }

  /** What happens by the clock: the page turns at the start and at the end, by itself. */
  function watch(sale) {
    const due = `${sale.starts_at} ${sale.ends_at} ${sale.state}`;
    if (due === alarmsFor) return;
    alarmsFor = due;
    for (const stop of alarms) stop();
    alarms = [];
    const starts = Date.parse(sale.starts_at);
    if (sale.state === "scheduled") {
      // Shortly before, the clock is compared once more.
      if (starts - clock.now() > REFINE_BEFORE_MS) alarms.push(clock.atTime(starts - REFINE_BEFORE_MS + Math.random() * 20_000, () => { clock.distrust(); load(); }));
      alarms.push(clock.atTime(starts, () => { announce(t("sale.announce_open"), true); show(); }));
      const room = sale.policy.waiting_room;
      if (room?.enabled) alarms.push(clock.atTime(starts - 1000 * (room.opens_before_seconds ?? 600), show));
    }
    alarms.push(clock.atTime(sale.ends_at, show));
  }

  async function known() {
    try { await me(); } catch { /* the page works without */ }
    if (gone || !current()) { show(); return; }
    const sale = sales.get(params.id);
    const asked = [loadOrders()];
    if (sale?.policy.invite_only) asked.push(api.get(`/v1/sales/${params.id}/invitation`).then((said) => { state.invited = said.invited; }));
    if (sale?.policy.waiting_room?.enabled) asked.push(api.get(`/v1/sales/${params.id}/waiting-room`).then((place) => keepRoom(params.id, place), () => {}));
    await Promise.allSettled(asked);
    if (gone) return;
    for (const item of sale?.items ?? []) deal(sale, item).resume(sale, item);
    show();
  }

  async function redeem(event) {
    event.preventDefault();
    if (state.codeBusy) return;
    Object.assign(state, { codeBusy: true, codeError: null });
    show();
    try {
      state.invited = (await api.post(`/v1/sales/${params.id}/invitation`, { code: state.code.trim() })).invited;
      announce(t("invite.announce_in"));
    } catch (error) {
      state.codeError = error.code === "not_allowed" || error.code === "invalid" ? t("invite.wrong") : explain(error);
    }
    state.codeBusy = false;
    show();
  }

  async function room(leave = false) {
    if (state.roomBusy) return;
    Object.assign(state, { roomBusy: true, roomError: null });
    show();
    try {
      if (leave) await leaveRoom(params.id);
      else if ((await enterRoom(sales.get(params.id)))?.status === "waiting") announce(t("room.announce_in"));
    } catch (error) {
      state.roomError = error;
    }
    state.roomBusy = false;
    show();
  }

  // --- what is shown ----------------------------------------------------------------------------

  function board(sale, now) {
    const [label, value, note] = {
      scheduled: () => [t("sale.starts_in"), h("sl-countdown", { until: sale.starts_at, say: "sale.say_starts", key: "start" }), t("sale.starts_at", { at: dateTime(sale.starts_at) })],
      live: () => [t(soonOver(sale) ? "sale.ends_in" : "sale.on"), soonOver(sale) ? h("sl-countdown", { until: sale.ends_at, key: "end" }) : t("sale.now"), t("sale.until", { at: dateTime(sale.ends_at) })],
      paused: () => [t("sale.paused"), t("sale.paused_value"), sale.pause_reason ? t("sale.paused_reason", { reason: sale.pause_reason }) : t("sale.paused_note")],
      ended: () => [t("sale.ended"), t("sale.ended_value"), Date.parse(sale.ends_at) <= clock.now() ? t("sale.ended_at", { at: dateTime(sale.ends_at) }) : t("sale.closed_early")],
    }[now]?.() ?? ["", "", ""];
    return h("div", { class: "board" },
      h("div", { class: "board-label" }, label),
      h("div", { class: "board-value countdown" }, value),
      h("div", { class: "board-note" }, note));
  }

  const soonOver = (sale) => Date.parse(sale.ends_at) - clock.now() < 24 * 3600_000;

  function left(item, now) {
    if (now === "scheduled") return t("item.stock", { n: number(item.stock) });
    if (item.state === "sold_out") return t("item.sold_out");
    if (item.state === "held") return t("item.held");
    return t("item.left", { left: number(item.remaining_hint), stock: number(item.stock) });
  }

  function itemRow(sale, item, now) {
    const share = now === "scheduled" ? 100 : item.stock ? (100 * item.remaining_hint) / item.stock : 0;
    return h("li", { class: "item", key: item.id },
      h("div", { class: "item-head" },
        h("h2", { class: "item-title" }, item.title),
        h("p", { class: "item-price" }, money(item.price))),
      h("div", { class: `item-left item-left-${item.state}` },
        h("div", { class: "meter", role: "img", "aria-label": left(item, now) }, h("div", { class: "meter-part", style: { "--share": `${share}%` } })),
        h("p", { class: "item-left-words", "aria-hidden": "true" }, left(item, now),
          item.state === "low" && now === "live" ? h("span", {}, " ", badge(t("item.low"), "warn")) : null)),
      h("div", { class: "item-deal" }, dealOf(sale, item, now)));
  }

  function dealOf(sale, item, now) {
    const mine = deal(sale, item);
    const order = orderOf(item.id);
    if (order && isOpen(order)) return orderPanel(order);
    const line = lines.get(item.id);
    if (line?.state === "waiting") return linePanel(sale, item, line, mine);
    const last = order && !mine.refused ? orderPanel(order) : null;
    if (isFull(item)) return last;
    return h("div", { class: "deal", key: "buy" },
      last, refusal(sale, item, mine, now), line?.state === "closed" ? notice("", t("line.closed"), t("line.closed_text")) : null,
      action(sale, item, mine, now, order));
  }

  /** Whether as many as one may have are paid. */
  const isFull = (item) => { const order = orderOf(item.id); return order?.state === "paid" && order.quantity >= item.per_buyer; };

  function refusal(sale, item, mine, now) {
    const error = mine.refused;
    if (mine.busy === "unclear") return notice("warn", t("buy.unclear"), t("buy.unclear_text"), { role: "status" });
    if (error && !["sold_out", "ended", "unauthenticated"].includes(error.code)) {
      const words = error.code === "limit_reached" ? t("buy.limit", { n: item.per_buyer }) : error.code === "too_many_requests" ? t("buy.too_many", { span: span(Math.max(1, error.retryAfterMs / 1000)) }) : error.code === "paused" && error.problem.reason ? t("sale.paused_reason", { reason: error.problem.reason }) : explain(error);
      return notice(error.code === "limit_reached" ? "" : "warn", t("buy.refused"), words, { role: "alert" });
    }
    if (now !== "live") return null;
    if (item.state === "held") {
      mine.heldSince ??= clock.now();
      const by = clockTime(mine.heldSince + sale.policy.payment_window_seconds * 1000);
      return notice(error ? "warn" : "", t("item.held_title"), t("item.held_text", { at: by }), { role: error ? "alert" : null });
    }
    mine.heldSince = null;
    if (item.state === "sold_out") return notice("", t("item.sold_out_title"), t("item.sold_out_text"), { role: error ? "alert" : null });
    return error?.code === "sold_out" ? notice("warn", t("item.just_gone"), t("item.just_gone_text"), { role: "alert" }) : null;
  }

  function action(sale, item, mine, now, order) {
    const open = now === "live" && (item.state === "available" || item.state === "low");
    const place = rooms.get(sale.id);
    const waits = place?.status === "waiting";
    const label = mine.busy ? t(`buy.busy_${mine.busy}`)
      : now === "scheduled" ? t("buy.opens", { at: nearTime(sale.starts_at) })
        : now === "paused" ? t("buy.paused") : now === "ended" ? t("buy.ended")
          : waits ? t("buy.wait_turn") : item.state === "sold_out" ? t("buy.sold_out") : item.state === "held" ? t("buy.held")
            : !isExpected() ? t("buy.log_in") : order ? t("buy.another") : t("buy.now");
    // A pause stops buying; who waits for what comes back may go on, and begin.
    const canJoin = (now === "live" || now === "paused") && sale.policy.waitlist && item.state === "held" && (!sale.policy.waitlist_until || Date.parse(sale.policy.waitlist_until) > clock.now());
    const shut = sale.policy.invite_only && current() && state.invited === false;
    const most = Math.min(item.per_buyer, QUANTITIES_MAX);
    if (canJoin && isExpected()) {
      return h("div", { class: "stack-tight" },
        button(mine.busy ? t(`buy.busy_${mine.busy}`) : t("line.join"), { kind: "main", size: "large", wide: true, busy: !!mine.busy, onclick: () => mine.join(sale, item), key: "join" }),
        h("p", { class: "small soft" }, t("line.join_text")));
    }
    return h("div", { class: "buy" },
      most > 1 ? h("div", { class: "buy-quantity" }, field(t("buy.quantity"), { name: `quantity-${item.id}`, options: Array.from({ length: most }, (_, i) => [i + 1, String(i + 1)]), value: mine.quantity, onchange: (event) => { mine.quantity = Number(event.target.value); } })) : null,
      button(label, {
        kind: "main", size: "large", wide: true, busy: !!mine.busy, disabled: !open || waits || shut, key: "buy",
        onclick: () => (isExpected() ? mine.act(sale, item) : toLogin()),
      }));
  }

  function toLogin() {
    const place = document.querySelector("sl-login");
    place?.scrollIntoView({ block: "center" });
    place?.querySelector("input")?.focus();
  }

  function linePanel(sale, item, line, mine) {
    return h("div", { class: "deal", key: "line" },
      h("div", { class: "place" },
        h("p", { class: "place-label" }, t("line.place")),
        h("p", { class: "place-value" }, line.position === null ? "—" : ordinal(line.position)),
        h("p", { class: "place-note" }, line.ahead === null ? "" : line.ahead === 0 ? t("line.next") : t("line.ahead", { n: line.ahead }))),
      h("p", {}, t("line.text", { span: span(sale.policy.payment_window_seconds) })),
      mine.refused ? notice("warn", t("buy.refused"), explain(mine.refused), { role: "alert" }) : null,
      h("div", { class: "row" },
        canAsk() ? button(t("line.notify"), { onclick: async () => { await ask(); show(); }, key: "ask" }) : null,
        button(t("line.leave"), { kind: "plain", busy: mine.busy === "line", key: "leave", onclick: async () => { if (await confirm(t("line.leave_title"), t("line.leave_text"), t("line.leave_yes"), t("core.back"))) mine.leave(sale, item); } })));
  }

  function roomPanel(sale, now) {
    const policy = sale.policy.waiting_room;
    const place = rooms.get(sale.id);
    // The load can ask for a waiting room too, in sales whose policy does not.
    if ((!policy?.enabled && !place) || now === "ended") return null;
    if (now === "paused" && place?.status !== "waiting") return null;
    if (sale.items.some((item) => { const order = orderOf(item.id); return order && isOpen(order); })) return null;
    // Who has all that one may have waits for nothing, and has no turn to use.
    if (sale.items.every(isFull)) return null;
    const opensAt = Date.parse(sale.starts_at) - 1000 * (policy?.opens_before_seconds ?? 600);
    const starts = Date.parse(sale.starts_at);
    const failed = state.roomError ? notice("warn", t("buy.refused"), explain(state.roomError), { role: "alert" }) : null;
    if (place?.status === "waiting") {
      const drawn = place.position !== null && place.position !== undefined;
      return card({ class: "room", key: "room" },
        h("h2", {}, t("room.in")),
        h("div", { class: "place" },
          h("p", { class: "place-label" }, drawn ? t("room.place") : t("room.no_place")),
          h("p", { class: "place-value" }, drawn ? number(place.position) : h("sl-countdown", { until: sale.starts_at, key: "draw" })),
          h("p", { class: "place-note" }, drawn ? t("room.ahead", { n: number(place.ahead ?? place.position - 1) }) : t("room.drawn_at", { at: clockTime(sale.starts_at, true) }))),
        drawn && place.eta_seconds ? h("p", { class: "strong" }, t("room.eta", { range: spanRange(...place.eta_seconds) })) : null,
        h("p", {}, t(drawn ? "room.text" : "room.text_before")),
        h("p", { class: "soft small" }, t("room.safe")),
        failed,
        h("div", { class: "row-plain" }, button(t("room.leave"), { kind: "plain", busy: state.roomBusy, key: "leave", onclick: async () => { if (await confirm(t("room.leave_title"), t(drawn ? "room.leave_text" : "room.leave_text_before"), t("room.leave_yes"), t("core.back"))) room(true); } })));
    }
    if (place?.status === "admitted") {
      return h("div", { class: "card", key: "room-in", "data-room": true }, notice("good", t("room.admitted"), place.admitted_until ? h("p", {}, t("room.admitted_until", { at: clockTime(place.admitted_until, true) }), " ", h("sl-countdown", { class: "strong", until: place.admitted_until, warn: "30", say: "room.say_left" })) : t("room.admitted_text"), { role: "status" }));
    }
    // Nobody who has bought is told that all went to others.
    if (place?.status === "over" && sale.items.some((item) => orderOf(item.id)?.state === "paid")) return null;
    if (place?.status === "over") return h("div", { class: "card", key: "room-over" }, notice("", t("room.over"), t(place.reason === "ended" ? "problem.ended" : "room.over_text")));
    if ((place?.status === "not_needed" && now === "live") || !policy?.enabled) return null;
    const openNow = clock.now() >= opensAt;
    return card({ class: "room", key: "room-out" },
      h("h2", {}, t("room.title")),
      h("p", {}, t(now === "scheduled" ? "room.shuffle" : "room.paced", { at: clockTime(starts) })),
      h("p", { class: "soft small" }, t("room.safe")),
      failed,
      isExpected()
        ? button(openNow ? t("room.enter") : t("room.opens", { at: nearTime(opensAt) }), { kind: now === "scheduled" ? "main" : "", disabled: !openNow, busy: state.roomBusy, onclick: () => room(), key: "enter" })
        : h("p", { class: "strong" }, t("room.log_in")));
  }

  function rules(sale) {
    const { policy } = sale;
    const limits = new Set(sale.items.map((item) => item.per_buyer));
    const groups = sale.items.some((item) => item.limit_group);
    const room = policy.waiting_room;
    return card({ key: "rules" }, h("h2", {}, t("rules.title")), h("ul", { class: "rules" },
      h("li", {}, limits.size === 1 ? t("rules.limit", { n: [...limits][0] }) : t("rules.limit_each"), groups ? ` ${t("rules.limit_group")}` : ""),
      h("li", {}, t("rules.first")),
      h("li", {}, t("rules.pay", { span: span(policy.payment_window_seconds) })),
      policy.waitlist ? h("li", {}, t("rules.waitlist"), policy.waitlist_until ? ` ${t("rules.waitlist_until", { at: dateTime(policy.waitlist_until) })}` : "") : h("li", {}, t("rules.no_waitlist")),
      room?.enabled ? h("li", {}, t("rules.room", { span: span(room.opens_before_seconds ?? 600) })) : null,
      policy.challenge !== "none" ? h("li", {}, t(`rules.challenge_${policy.challenge}`)) : null,
      policy.invite_only ? h("li", {}, t("rules.invite")) : null,
      h("li", {}, t("rules.once"))));
  }

  function invitation(sale) {
    if (!sale.policy.invite_only || !current()) return null;
    if (state.invited) return h("div", { class: "card", key: "invited" }, notice("good", t("invite.in"), t("invite.in_text")));
    return card({ key: "invite" }, h("h2", {}, t("invite.title")), h("p", { class: "soft" }, t("invite.text")),
      h("form", { class: "stack", onsubmit: redeem, novalidate: true },
        field(t("invite.code"), { name: "invite", autocomplete: "off", autocapitalize: "characters", spellcheck: "false", value: state.code, error: state.codeError, oninput: (event) => { state.code = event.target.value; } }),
        button(t("invite.send"), { kind: "main", type: "submit", busy: state.codeBusy })));
  }

  function skeleton() {
    return h("div", { class: "stack", key: "sale" },
      h("div", { class: "sale-head" }, h("h1", {}, state.error ? t("sale.one", { id: params.id }) : " "), h("sl-connection")),
      state.error ? failure(state.error, state.error.status === 404 ? null : () => load()) : [
        h("div", { class: "board" }, h("div", { class: "board-label" }, " "), h("div", { class: "board-value countdown" }, " "), h("div", { class: "board-note" }, " ")),
        h("div", { class: "card" }, loading())],
      state.error ? h("p", {}, h("a", { href: "/" }, t("shop.sales"))) : null);
  }

  function draw() {
    const sale = sales.get(params.id);
    if (!sale || (state.error && state.error.status === 404)) return skeleton();
    const now = stateNow(sale);
    return h("div", { class: "stack", key: "sale" },
      h("div", { class: "sale-head" }, h("h1", {}, sale.title), h("div", { class: "row" }, stateBadge(now), h("sl-connection"))),
      board(sale, now),
      h("div", { class: "with-side" },
        h("div", { class: "stack" }, roomPanel(sale, now), h("ul", { class: "items" }, sale.items.map((item) => itemRow(sale, item, now)))),
        h("div", { class: "stack", key: "side" },
          isExpected() || now === "ended" ? null : h("div", { class: "card", key: "login" }, h("sl-login", { intro: now === "scheduled" ? "login.intro_before" : "login.intro" })),
          invitation(sale), rules(sale))));
  }

  function show() {
    if (gone) return;
    title(sales.get(params.id)?.title ?? "");
    render(main, draw());
    if (sales.has(params.id) && !performance.getEntriesByName("sluice.usable").length) performance.mark("sluice.usable");
  }

  // The sale comes with the page: waiting a moment for it saves drawing something else before.
  const late = setTimeout(show, FIRST_MS);
  const first = load(true);
  first.then(() => clearTimeout(late));
  first.then(known);
  stops.push(onChange(() => { const sale = sales.get(params.id); if (sale) watch(sale); show(); }), onLanguage(show), onSession(known), subscribe(`sale:${params.id}`), onState(() => { if (sales.has(params.id)) show(); }));
  const poll = follow(params.id);
  function over(event) {
    // One's turn has ended by the clock: what is there now?
    if (event.target.closest?.("[data-room]")) askRoom(params.id).catch(() => {});
    show();
  }
  main.addEventListener("over", over);
  return () => {
    gone = true;
    main.removeEventListener("over", over);
    poll.stop();
    for (const stop of [...stops, ...alarms]) stop();
    for (const each of deals.values()) each.close();
  };
}
