// /login, for whoever comes from elsewhere; `?to=` says where to go on.
import { title } from "../components/frame.js";
import { h, render } from "../core/dom.js";
import { onLanguage, t } from "../core/i18n.js";
import { current } from "../core/session.js";

export function loginView(main, { query, go }) {
  const to = query.get("to") ?? "/";
  // A path of ours and nothing else: this must not lead anywhere.
  const safe = /^\/(?![/\\])/.test(to) && new URL(to, location.origin).origin === location.origin ? to : "/";
  const draw = () => {
    title(t("login.title"));
    render(main, h("div", { class: "card login-card", key: "login-page" },
      current() ? h("p", {}, t("login.in_already")) : null,
      h("sl-login", { heading: "h1" })));
    main.querySelector("sl-login").addEventListener("done", () => go(safe, { replace: true }), { once: true });
  };
  draw();
  return onLanguage(() => title(t("login.title")));
}
