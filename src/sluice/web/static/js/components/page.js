// /components: every component in every state, light and dark side by side, in the chosen language.
import { frame, title } from "./frame.js";
import * as basic from "./basic.js";
import "./live.js";
import { h, render } from "../core/dom.js";
import { language, onLanguage } from "../core/i18n.js";
import { money } from "../core/money.js";
import { ApiError } from "../core/api.js";
import { sections as shop } from "../shop/gallery.js";

const zh = () => language() === "zh";
const say = (en, cn) => (zh() ? cn : en);
let tab = "a";

// [name, () => elements]. An area adds its own from a gallery.js of its own.
const sections = [
  ["Button", () => h("div", { class: "row" },
    basic.button(say("Buy now", "立即购买"), { kind: "main", size: "large" }),
    basic.button(say("Opens at 10:00", "10:00 开抢"), { kind: "main", size: "large", disabled: true }),
    basic.button(say("Asking", "正在请求"), { kind: "main", busy: true }),
    basic.button(say("Not this one", "换一个")), basic.button(say("Details", "详情"), { kind: "plain" }),
    basic.button(say("Cancel order", "取消订单"), { kind: "danger" }), basic.button(say("A link", "链接"), { href: "/components" }))],
  ["Field", () => h("div", { class: "stack" },
    basic.field(say("Phone", "手机号"), { name: "a-phone", type: "tel", hint: say("A code is sent to it.", "会收到一条验证码。") }),
    basic.field(say("Code", "验证码"), { name: "a-code", value: "042117", error: say("That is not the code.", "验证码不正确。") }),
    basic.field(say("Challenge", "验证"), { name: "a-select", options: [["none", say("None", "无")], ["slider", say("Slider", "滑块")]], value: "slider" }),
    basic.field(say("Reason", "原因"), { name: "a-reason", rows: 3 }),
    basic.check(say("Waiting room", "排队室"), { name: "a-check", checked: true, hint: say("For more than ten people a unit.", "适合人多货少的时候。") }))],
  ["Badge", () => h("div", { class: "row" },
    basic.badge(say("draft", "草稿")), basic.badge(say("live", "进行中"), "accent"), basic.badge(say("paid", "已支付"), "good"),
    basic.badge(say("awaiting payment", "待支付"), "waiting"), basic.badge(say("paused", "已暂停"), "warn"), basic.badge(say("sold out", "已售罄"), "bad"))],
  ["Notice", () => h("div", { class: "stack" },
    basic.notice("", say("The sale starts at 10:00", "10:00 开始")), basic.notice("accent", say("It is yours", "已为您留货"), say("Pay by 10:14.", "请在 10:14 前支付。")),
    basic.notice("good", say("Paid", "已支付")), basic.notice("warn", say("Paused by the merchant", "商家已暂停"), say("We are checking a price.", "正在核对价格。")),
    basic.notice("bad", say("Sold out", "已售罄"), say("All are held; some may return by 10:14.", "全部被占用，10:14 前可能有退回。")))],
  ["Figure", () => h("div", { class: "grid-small" },
    basic.figure(say("Available", "可售"), "1,204", { note: h("sl-age", { at: new Date().toISOString() }) }),
    basic.figure(say("Accepted", "已受理"), "318", { unit: say("a second", "每秒") }),
    basic.figure(say("Backlog", "积压"), "42", { stale: true, note: say("! 40 s old", "! 40 秒前") }),
    basic.figure(say("Refused", "已拒绝"), null, { note: say("not known yet", "尚不清楚") }),
    basic.figure(say("Price", "价格"), money({ amount: "399.00", currency: "CNY" })))],
  ["Bar", () => basic.bar(say("Stock", "库存"), [
    { name: "paid", label: say("paid", "已支付"), value: 120 }, { name: "awaiting_payment", label: say("awaiting payment", "待支付"), value: 40 },
    { name: "queued", label: say("queued", "已受理"), value: 12 }, { name: "returning", label: say("returning", "退回中"), value: 6 }, { name: "available", label: say("available", "可售"), value: 22 }])],
  ["Countdown", () => h("div", { class: "stack" }, h("sl-countdown", { class: "countdown", until: new Date(Date.now() + 3_725_000).toISOString() }), h("sl-connection"))],
  ["Table", () => basic.table(say("Orders", "订单"), [
    { label: say("Order", "订单"), header: true, cell: (row) => row.id }, { label: say("State", "状态"), cell: (row) => basic.badge(row.state, row.kind) },
    { label: say("Amount", "金额"), number: true, cell: (row) => money({ amount: row.amount, currency: "CNY" }) }],
  [{ id: "1042", state: say("paid", "已支付"), kind: "good", amount: "399.00" }, { id: "1043", state: say("expired", "已过期"), kind: "bad", amount: "68.50" }])],
  ["Tabs", (place) => basic.tabs(say("Views", "视图"), [{ id: `a${place}`, label: say("Orders", "订单"), panel: () => h("p", {}, say("The orders.", "订单。")) }, { id: `b${place}`, label: say("Waitlist", "候补"), panel: () => h("p", {}, say("The line.", "队列。")) }], tab + place, (id) => { tab = id[0]; draw(); })],
  ["Steps", () => basic.steps(say("Steps", "步骤"), [say("Details", "基本信息"), say("Items", "商品"), say("Protection", "防护"), say("Review", "检查")], 2)],
  ["Facts", () => basic.facts([[say("Order", "订单"), "1042"], [say("Pay by", "支付期限"), "10:14"], [say("Amount", "金额"), money({ amount: "399.00", currency: "CNY" })]])],
  ["Empty", () => basic.empty(say("No orders yet", "还没有订单"), say("What you buy is shown here.", "购买后会显示在这里。"), basic.button(say("See the sales", "查看活动"), { kind: "main", href: "/" }))],
  ["Loading", () => basic.loading()],
  ["Failure", () => basic.failure(new ApiError("overloaded", 503, { request_id: "01JD8Z3V" }), () => {})],
  ["Dialog, toast", () => h("div", { class: "row" },
    basic.button(say("Open a dialog", "打开对话框"), { onclick: () => basic.confirm(say("Cancel this order?", "取消此订单？"), say("Its unit goes to the next in line at once.", "货品会立即给下一位。"), say("Cancel it", "确认取消")) }),
    basic.button(say("Show a toast", "显示提示"), { onclick: () => basic.toast(say("Saved", "已保存")) }))],
];

sections.push(...shop);

const { main } = frame({ links: () => [["/components", say("Components", "组件")], ["/docs", "API"]], width: "wide" });

function draw() {
  title(say("Components", "组件"));
  const column = (theme, place) => h("div", { class: "stack gallery", "data-theme": theme, key: theme },
    sections.map(([name, make]) => basic.card({}, h("h2", {}, name), make(place))));
  render(main, h("div", { class: "stack" }, h("h1", {}, say("Components", "组件")),
    h("p", { class: "soft" }, say("Every component in its states, light and dark. Change language and theme above.", "所有组件及其状态，浅色与深色。语言与主题可在上方切换。")),
    h("div", { class: "galleries" }, column("light", 1), column("dark", 2))));
  for (const node of document.querySelectorAll(".gallery [id]")) if (node.closest("[data-theme=dark]") && !node.id.endsWith("2")) prefix(node);
}

// The same component twice on one page: ids of the second are made different.
function prefix(node) {
  const old = node.id;
  node.id = `${old}-2`;
  const column = node.closest(".gallery");
  for (const name of ["for", "aria-describedby", "aria-labelledby", "aria-controls"]) {
    for (const user of column.querySelectorAll(`[${name}~="${old}"]`)) user.setAttribute(name, user.getAttribute(name).split(" ").map((id) => (id === old ? `${old}-2` : id)).join(" "));
  }
}
onLanguage(draw);
draw();
