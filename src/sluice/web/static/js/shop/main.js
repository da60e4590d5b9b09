// The buyers' pages: one shell, a view for each path.
import "../components/live.js";
import "./login.js";
import { frame } from "../components/frame.js";
import { button, toast } from "../components/basic.js";
import { announce } from "../core/dom.js";
import { onLanguage, register, t } from "../core/i18n.js";
import { connect, disconnect, on } from "../core/live.js";
import { router } from "../core/router.js";
import { current, isExpected, logOut, lost, me, onLost, onSession } from "../core/session.js";
import en from "../../words/en/shop.js";
import zh from "../../words/zh/shop.js";
import { saleView } from "./sale.js";
import { forgetBuyer } from "./store.js";
import { tell } from "./telling.js";

register({ en, zh });

const page = frame({
  links: () => [["/", t("shop.sales")], ["/orders", t("shop.orders")]],
  more: () => (isExpected()
    ? [button(t("shop.log_out"), { kind: "plain", key: "out", onclick: leave })]
    : [button(t("shop.log_in"), { kind: "plain", key: "in", href: `/login?to=${encodeURIComponent(location.pathname)}` })]),
});

const routes = router([
  // A sale's page is the one that counts; the shells of the others have their view preloaded.
  ["/sales/:id", (at) => saleView(page.main, at)],
  ["/", async (at) => (await import("./list.js")).listView(page.main, at)],
  ["/orders", async (at) => (await import("./orders.js")).ordersView(page.main, at)],
  ["/orders/:id", async (at) => (await import("./orders.js")).orderView(page.main, at)],
  ["/login", async (at) => (await import("./entry.js")).loginView(page.main, { ...at, go: routes.go })],
]);

async function leave() {
  try {
    await logOut();
    toast(t("shop.logged_out"));
    if (location.pathname.startsWith("/orders")) routes.go("/");
  } catch {
    toast(t("problem.offline"));
  }
}

onSession((buyer) => {
  forgetBuyer();
  page.refresh();
  if (buyer) connect();
  else disconnect();
});
onLanguage(() => { page.refresh(); });
addEventListener("popstate", page.refresh);
document.addEventListener("click", () => setTimeout(page.refresh));
// The session ended elsewhere, or was not ours any more.
on("ended", ({ code }) => { if (code === 4401) lost(); });
on("unsure", () => { if (current()) me({ again: true }).catch(() => {}); });
onLost(() => { toast(t("shop.logged_out_elsewhere")); announce(t("shop.logged_out_elsewhere"), true); });

on("waitlist.promoted", (data) => tell(t("line.promoted_title"), t("line.promoted_text"), `/orders/${data.order.id}`));
const turns = new Map();
on("waiting_room.position", ({ sale_id: id, status }) => {
  if (status === "admitted" && turns.get(id) === "waiting") tell(t("room.turn_title"), t("room.turn_text"), `/sales/${id}`);
  turns.set(id, status);
});
on("order.payment_due_soon", (order) => tell(t("order.due_title"), t("order.due_text"), `/orders/${order.id}`));

// Nobody waits for this: a page of a sale is shown to whoever comes.
me().catch(() => {}).then(page.refresh);
routes.show();
