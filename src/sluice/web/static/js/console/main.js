// The merchant's console: one shell, a view for each path.
import "../shop/login.js";
import "./words.js";
import { button, toast } from "../components/basic.js";
import { frame, title } from "../components/frame.js";
import { h, render } from "../core/dom.js";
import { failure } from "../components/basic.js";
import { hasToken } from "../core/api.js";
import { onLanguage, t } from "../core/i18n.js";
import { router } from "../core/router.js";
import { current, logOut, restoreAdminToken, useAdminToken } from "../core/session.js";
import { editorPage } from "./editor.js";
import { codesPage } from "./guests.js";
import { keysPage } from "./keys.js";
import { entrance, isAdmin, whoIsIn } from "./kit.js";
import { orderPage, ordersPage } from "./orders.js";
import { overviewPage, salesPage } from "./sales.js";
import { teamPage } from "./team.js";
import { waitlistPage } from "./waitlist.js";
import { endpointPage, webhooksPage } from "./webhooks.js";

restoreAdminToken();
let inside = hasToken();
const page = frame({
  home: "/console", brand: () => t("console.brand"), width: "wide",
  links: () => (inside ? [["/console/sales", t("console.sales")], ["/console/orders", t("console.orders")], ["/console/webhooks", t("console.webhooks")], ["/console/keys", t("console.keys")], ...(isAdmin() ? [["/console/team", t("console.team")]] : []), ["/operator", t("console.to_operator")]] : []),
  more: () => (inside ? [button(t("console.log_out"), { kind: "plain", key: "out", onclick: leave })] : []),
});

async function leave() {
  try {
    if (current()) await logOut();
    useAdminToken(null);
    location.assign("/console");
  } catch {
    toast(t("problem.offline"));
  }
}

/** A view for whoever may be here. */
const guarded = (view) => async (at) => {
  try {
    inside = (await whoIsIn()).in;
  } catch (error) {
    title("");
    render(page.main, failure(error, () => routes.show()));
    return null;
  }
  page.refresh();
  if (!inside) return entrance(page.main, "console.log_in_text", () => routes.show());
  return view(page.main, { ...at, go: routes.go });
};
const watched = (name) => async (main, at) => {
  const found = await import("../watch/main.js");
  return found[name](main, at);
};

const routes = router([
  ["/console", guarded((main, at) => salesPage(main, at))],
  ["/console/sales", guarded(salesPage)],
  ["/console/sales/new", guarded(editorPage)],
  ["/console/sales/:id", guarded(overviewPage)],
  ["/console/sales/:id/edit", guarded(editorPage)],
  ["/console/sales/:id/guests", guarded(codesPage)],
  ["/console/sales/:id/waitlist", guarded(waitlistPage)],
  ["/console/sales/:id/monitor", guarded(watched("monitorPage"))],
  ["/console/sales/:id/report", guarded(watched("reportPage"))],
  ["/console/orders", guarded(ordersPage)],
  ["/console/orders/:id", guarded(orderPage)],
  ["/console/webhooks", guarded(webhooksPage)],
  ["/console/webhooks/:id", guarded(endpointPage)],
  ["/console/keys", guarded(keysPage)],
  ["/console/team", guarded(teamPage)],
  ["*", (at) => { title(""); render(page.main, h("p", {}, t("problem.not_found"), " ", h("a", { href: "/console/sales" }, t("console.sales")))); return null; }],
], { base: "/console" });

onLanguage(page.refresh);
addEventListener("popstate", page.refresh);
document.addEventListener("click", () => setTimeout(page.refresh));
routes.show();
