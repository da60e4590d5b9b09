// What a sale asks before it gives a pass: a sum, a slider, or work that the browser does by itself.
// Each names an alternative, for who cannot see a picture or whose browser cannot work.
import * as api from "../core/api.js";
import { button, explain, field } from "../components/basic.js";
import { announce, h, render } from "../core/dom.js";
import { t } from "../core/i18n.js";

const WORKER = new URL("./work.js", import.meta.url);
const WORKERS_MAX = 4;

/** Resolves to {challenge_id, answer}, or null where somebody closes the dialog; undefined where the
 * sale asks nothing. Throws ApiError. `failed`: the answer before was wrong. */
export async function solve(sale, { failed = false, onprogress = () => {}, signal } = {}) {
  const path = `/v1/sales/${sale.id}/challenge`;
  let asked = await api.get(path, { signal });
  if (asked === null) return undefined;
  if (asked.kind === "proof_of_work") {
    if (globalThis.crypto?.subtle && globalThis.Worker) return { challenge_id: asked.challenge_id, answer: await work(asked.parameters, onprogress, signal) };
    asked = await api.get(asked.alternative.url, { signal });
  }
  return picture(asked, failed, signal);
}

/** The derived key, as hex. */
function work(parameters, onprogress, signal) {
  const count = Math.max(1, Math.min(WORKERS_MAX, (navigator.hardwareConcurrency || 2) - 1));
  const workers = Array.from({ length: count }, () => new Worker(WORKER, { type: "module" }));
  return new Promise((resolve, reject) => {
    const fail = () => reject(new api.ApiError("challenge_failed", 0));
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    workers.forEach((worker, from) => {
      worker.onerror = fail;
      worker.onmessage = ({ data }) => (data.derived ? resolve(data.derived) : data.derived === null ? fail() : onprogress(data.tried));
      worker.postMessage({ parameters, from, step: count });
    });
  }).finally(() => workers.forEach((worker) => worker.terminate()));
}

function picture(first, failed, signal) {
  return new Promise((resolve, reject) => {
    let asked = first;
    let value = "";
    let busy = false;
    let said = failed ? t("challenge.wrong") : null;
    const before = document.activeElement;
    const box = h("dialog", { class: "dialog challenge", "aria-labelledby": "challenge-title", onclose: () => finish(null) });
    const finish = (answer) => { box.onclose = null; box.close(); box.remove(); before?.focus?.(); resolve(answer); };
    signal?.addEventListener("abort", () => { box.onclose = null; box.remove(); reject(signal.reason); }, { once: true });

    async function exchange(url) {
      busy = true;
      draw();
      try {
        asked = await api.get(url, { signal });
        value = "";
        said = null;
        if (asked.kind === "proof_of_work") {
          announce(t("challenge.working"));
          finish({ challenge_id: asked.challenge_id, answer: await work(asked.parameters, () => {}, signal) });
          return;
        }
      } catch (error) {
        said = explain(error);
      }
      busy = false;
      draw();
    }

    function send(event) {
      event.preventDefault();
      const text = String(value).trim();
      if (!text) { said = t("challenge.empty"); draw(); return; }
      finish({ challenge_id: asked.challenge_id, answer: text });
    }

    function draw() {
      const canWork = globalThis.crypto?.subtle && globalThis.Worker;
      const other = asked.alternative.kind !== "proof_of_work" || canWork ? asked.alternative : null;
      render(box, [
        h("h2", { id: "challenge-title" }, t("challenge.title")),
        h("p", { class: "soft" }, t(`challenge.${asked.kind}_how`)),
        busy ? h("p", { role: "status" }, t("challenge.working")) : h("form", { class: "stack", onsubmit: send, novalidate: true, key: asked.challenge_id },
          asked.kind === "slider" ? slider(asked, value, (next) => { value = next; said = null; draw(); }) : sum(asked, value, (next) => { value = next; }, said),
          said && asked.kind === "slider" ? h("p", { class: "field-error", role: "alert" }, said) : null,
          h("div", { class: "dialog-actions" },
            button(t("core.back"), { kind: "plain", onclick: () => finish(null) }),
            button(t("challenge.send"), { kind: "main", type: "submit" }))),
        other && !busy ? h("p", { class: "small row row-plain" }, t(`challenge.other_${other.kind}`), " ", button(t(`challenge.use_${other.kind}`), { kind: "plain", onclick: () => exchange(other.url) })) : null,
      ]);
    }
    draw();
    document.body.append(box);
    box.showModal();
    box.querySelector("input")?.focus();
  });
}

const sum = (asked, value, take, error) => h("div", { class: "stack" },
  h("img", { class: "challenge-picture", src: asked.image, alt: t("challenge.sum_alt") }),
  field(t("challenge.answer"), { name: "answer", inputmode: "numeric", autocomplete: "off", class: "input input-code", value, error, oninput: (event) => take(event.target.value) }));

function slider(asked, value, take) {
  const { piece, width } = asked;
  const at = Number(value || 0);
  const share = (part, whole) => `${(100 * part) / whole}%`;
  return h("div", { class: "stack-tight" },
    h("div", { class: "slider", style: { "--ratio": `${width} / 160` } },
      h("img", { class: "slider-scene", src: asked.image, alt: t("challenge.slider_alt") }),
      h("img", { class: "slider-piece", src: piece.image, alt: "", style: { left: share(at, width), top: share(piece.y, 160), width: share(piece.width, width) } })),
    h("label", { for: "f-answer", class: "field-label" }, t("challenge.slide")),
    h("input", { type: "range", id: "f-answer", name: "answer", min: "0", max: String(width - piece.width), step: "1", value: String(at), oninput: (event) => take(event.target.value) }));
}
