// Who may run sales, and who may see to people.
import { badge, button, confirm, empty, notice, table } from "../components/basic.js";
import { get, postOnce } from "../core/api.js";
import { h } from "../core/dom.js";
import { dateTime, t } from "../core/i18n.js";
import { current } from "../core/session.js";
import { ask, sheet } from "./kit.js";

const PATH = "/v1/admin/users";
const ROLES = ["merchant", "admin"];
const nameOf = (user) => user.login ?? user.phone ?? user.buyer;

export function teamPage(main) {
  return sheet(main, {
    name: () => t("console.team"),
    load: async () => {
      const [admins, merchants] = await Promise.all(ROLES.map((role) => get(`${PATH}?role=${role}&limit=100`)).reverse());
      const all = new Map([...admins.data, ...merchants.data].map((user) => [user.id, user]));
      return { users: [...all.values()], admins: admins.data.length, more: Boolean(admins.next_cursor || merchants.next_cursor) };
    },
    actions: (page) => button(t("console.invite"), { kind: "main", onclick: () => invite(page) }),
    view: (page) => [
      h("p", { class: "soft" }, t("console.team_text")),
      page.data.admins === 0 ? notice("warn", t("console.no_admin_title"), t("console.no_admin_text")) : null,
      table(t("console.team"), [
        { label: t("console.who"), header: true, cell: (user) => h("span", {}, nameOf(user), user.buyer === current()?.id ? h("span", { class: "soft" }, ` (${t("console.you")})`) : null) },
        { label: t("console.roles"), cell: (user) => h("span", { class: "row" }, user.roles.filter((role) => role !== "buyer").map((role) => badge(t(`console.role_${role}`), role === "admin" ? "accent" : ""))) },
        { label: t("console.account"), cell: (user) => h("span", { class: "console-id" }, user.buyer) },
        { label: t("console.since"), cell: (user) => dateTime(user.created_at) },
        { label: "", cell: (user) => h("div", { class: "row" },
          button(t("console.change_roles"), { "aria-label": `${t("console.change_roles")}: ${nameOf(user)}`, onclick: () => change(page, user) }),
          button(t("console.log_out_user"), { "aria-label": `${t("console.log_out_user")}: ${nameOf(user)}`, onclick: () => logOut(page, user) })) },
      ], page.data.users, { key: (user) => user.id, none: empty(t("console.no_team"), t("console.no_team_text"), button(t("console.invite"), { kind: "main", onclick: () => invite(page) })) }),
    ],
  });
}

function invite(page) {
  return ask(t("console.invite"), t("console.invite_text"), [
    { name: "who", label: t("console.phone_or_login"), required: true, hint: t("console.phone_or_login_hint"), autocomplete: "off" },
    { name: "role", label: t("console.role"), value: "merchant", options: ROLES.map((role) => [role, t(`console.role_${role}`)]) },
  ], t("console.invite"), ({ who, role }) => postOnce(PATH, { [/^[+0-9 ().-]+$/.test(who.trim()) ? "phone" : "login"]: who.trim(), roles: [role] })).then((done) => done && page.reload());
}
function change(page, user) {
  return ask(t("console.roles_of", { name: nameOf(user) }), t("console.roles_text"), ROLES.map((role) => ({ name: role, label: t(`console.role_${role}_long`), check: true, value: user.roles.includes(role) })), t("core.save"),
    (given) => postOnce(`${PATH}/${user.id}/roles`, { roles: ROLES.filter((role) => given[role]) })).then((done) => done && page.reload());
}
async function logOut(page, user) {
  if (!(await confirm(t("console.log_out_title", { name: nameOf(user) }), t("console.log_out_text"), t("console.log_out_user")))) return;
  await page.run("logout", () => postOnce(`${PATH}/${user.id}/logout`), t("console.logged_out"));
}
