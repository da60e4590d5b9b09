// Getting in, wherever it is needed: a code to the phone, or login and password.
import { button, explain, field } from "../components/basic.js";
import { h, render } from "../core/dom.js";
import { onLanguage, t } from "../core/i18n.js";
import { logIn, register, sendCode } from "../core/session.js";

const AGAIN_S = 30;

/** <sl-login heading="h2" intro="key">: sends "done" when somebody is in; the session tells all others. */
class Login extends HTMLElement {
  static observedAttributes = ["intro"];
  attributeChangedCallback() { this.redraw?.(); }
  connectedCallback() {
    if (this.built) return;
    this.built = true;
    this.redraw = build(this, this.getAttribute("heading") ?? "h2", () => this.dispatchEvent(new Event("done", { bubbles: true })));
  }
}

function build(root, heading, ondone) {
  const state = { way: "phone", step: "phone", phone: "", code: "", request: null, login: "", password: "", errors: {}, said: null, busy: false, againAt: 0 };
  let timer = 0;

  async function act(event, work) {
    event.preventDefault();
    if (state.busy) return;
    Object.assign(state, { busy: true, errors: {}, said: null });
    draw();
    try {
      await work();
    } catch (error) {
      for (const { field: name, message } of error.errors ?? []) state.errors[name] = message;
      if (error.status === 401) state.said = t(state.way === "phone" ? "login.wrong_code" : state.way === "new" ? "login.taken" : "login.wrong_password");
      else if (!error.errors?.length) state.said = explain(error);
      else for (const name of Object.keys(state.errors)) state.errors[name] = t(`login.bad_${name}`);
    }
    state.busy = false;
    draw();
    root.querySelector("[aria-invalid]")?.focus();
  }

  const askCode = (event) => act(event, async () => {
    if (!state.phone.trim()) { state.errors.phone = t("login.bad_phone"); return; }
    state.request = await sendCode(state.phone);
    state.step = "code";
    state.againAt = performance.now() + AGAIN_S * 1000;
    draw();
    root.querySelector("input[name=code]")?.focus();
    tick();
  });
  const enterCode = (event) => act(event, async () => ondone(await logIn({ phone: state.phone, code: state.code.trim(), request: state.request })));
  const enterPassword = (event) => act(event, async () => ondone(await logIn({ login: state.login, password: state.password })));
  const makeAccount = (event) => act(event, async () => {
    await register(state.login, state.password);
    ondone(await logIn({ login: state.login, password: state.password }));
  });

  function tick() {
    clearTimeout(timer);
    draw();
    if (state.step === "code" && performance.now() < state.againAt && root.isConnected) timer = setTimeout(tick, 1000);
  }
  const type = (name) => ({ name, value: state[name], error: state.errors[name], oninput: (event) => { state[name] = event.target.value; } });
  const turn = (way) => () => { Object.assign(state, { way, step: "phone", errors: {}, said: null }); draw(); root.querySelector("input")?.focus(); };

  function form() {
    if (state.way === "phone" && state.step === "phone") {
      return h("form", { class: "stack", onsubmit: askCode, novalidate: true, key: "phone" },
        field(t("login.phone"), { type: "tel", autocomplete: "tel", hint: t("login.phone_hint"), ...type("phone") }),
        button(t("login.send_code"), { kind: "main", type: "submit", wide: true, busy: state.busy }),
        button(t("login.use_password"), { kind: "plain", onclick: turn("password") }));
    }
    if (state.way === "phone") {
      const left = Math.ceil((state.againAt - performance.now()) / 1000);
      return h("form", { class: "stack", onsubmit: enterCode, novalidate: true, key: "code" },
        field(t("login.code"), { inputmode: "numeric", autocomplete: "one-time-code", maxlength: "6", class: "input input-code", hint: t("login.code_sent", { phone: state.phone }), ...type("code") }),
        button(t("login.enter"), { kind: "main", type: "submit", wide: true, busy: state.busy }),
        button(left > 0 ? t("login.again_in", { n: left }) : t("login.again"), { kind: "plain", disabled: left > 0, onclick: askCode }),
        button(t("login.other_phone"), { kind: "plain", onclick: turn("phone") }));
    }
    const fresh = state.way === "new";
    return h("form", { class: "stack", onsubmit: fresh ? makeAccount : enterPassword, novalidate: true, key: state.way },
      field(t("login.login"), { autocomplete: "username", autocapitalize: "none", spellcheck: "false", hint: fresh ? t("login.login_hint") : null, ...type("login") }),
      field(t("login.password"), { type: "password", autocomplete: fresh ? "new-password" : "current-password", hint: fresh ? t("login.password_hint") : null, ...type("password") }),
      button(t(fresh ? "login.make" : "login.enter"), { kind: "main", type: "submit", wide: true, busy: state.busy }),
      button(t(fresh ? "login.have_account" : "login.no_account"), { kind: "plain", onclick: turn(fresh ? "password" : "new") }),
      button(t("login.use_phone"), { kind: "plain", onclick: turn("phone") }));
  }

  function draw() {
    const intro = root.getAttribute("intro");
    render(root, [
      h(heading, {}, t(state.way === "new" ? "login.title_new" : "login.title")),
      intro ? h("p", { class: "soft" }, t(intro)) : null,
      h("p", { class: "field-error", role: "alert", hidden: !state.said }, state.said ?? ""),
      form(),
    ]);
  }
  onLanguage(() => { if (root.isConnected) draw(); });
  draw();
  return draw;
}

customElements.define("sl-login", Login);
