// The operator's pages: one shell, a view for each path.
import "../shop/login.js";
import "../console/words.js";
import "./words.js";
import { button, failure, toast } from "../components/basic.js";
import { frame, title } from "../components/frame.js";
import { hasToken } from "../core/api.js";
import { h, render } from "../core/dom.js";
import { onLanguage, t } from "../core/i18n.js";
import { router } from "../core/router.js";
import { current, logOut, restoreAdminToken, useAdminToken } from "../core/session.js";
import { entrance, isAdmin, whoIsIn } from "../console/kit.js";
import { actionsPage } from "./actions.js";
import { auditPage } from "./audit.js";
import { blacklistPage } from "./blacklist.js";
import { healthPage } from "./health.js";
import { incidentsPage } from "./incidents.js";
import { lettersPage } from "./letters.js";

restoreAdminToken();
let inside = hasToken();
const page = frame({
  home: "/operator", brand: () => t("operator.brand"), width: "wide",
  links: () => (inside ? [["/operator/health", t("operator.health")], ["/operator/incidents", t("operator.incidents")], ["/operator/audit", t("operator.audit")], ["/operator/dead-letters", t("operator.letters")],
    ...(isAdmin() ? [["/operator/blacklist", t("operator.blacklist")], ["/operator/actions", t("operator.actions")]] : []), ["/console", t("operator.to_console")]] : []),
  more: () => (inside ? [button(t("console.log_out"), { kind: "plain", key: "out", onclick: leave })] : []),
});

async function leave() {
  try {
    if (current()) await logOut();
    useAdminToken(null);
    location.assign("/operator");
  } catch {
    toast(t("problem.offline"));
  }
}

const guarded = (view) => async (at) => {
  try {
    inside = (await whoIsIn()).in;
  } catch (error) {
    title("");
    render(page.main, failure(error, () => routes.show()));
    return null;
  }
  page.refresh();
  if (!inside) return entrance(page.main, "operator.log_in_text", () => routes.show());
  return view(page.main, { ...at, go: routes.go });
};

const routes = router([
  ["/operator", guarded(healthPage)],
  ["/operator/health", guarded(healthPage)],
  ["/operator/incidents", guarded(incidentsPage)],
  ["/operator/audit", guarded(auditPage)],
  ["/operator/dead-letters", guarded(lettersPage)],
  ["/operator/blacklist", guarded(blacklistPage)],
  ["/operator/actions", guarded(actionsPage)],
  ["*", () => { title(""); render(page.main, h("p", {}, t("problem.not_found"), " ", h("a", { href: "/operator/health" }, t("operator.health")))); return null; }],
], { base: "/operator" });

onLanguage(page.refresh);
addEventListener("popstate", page.refresh);
document.addEventListener("click", () => setTimeout(page.refresh));
routes.show();
