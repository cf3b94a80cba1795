/**
 * A run on the page: its parts as they come, the error it may end with, and what it used.
 *
 * It listens to the run and paints at most once per animation frame, only where something has
 * changed. In a hidden tab there are no frames: then the places are kept, not the changes, so
 * nothing piles up.
 */

import { element } from "./element.js";
import { parsePointer } from "./operations.js";
import { partView } from "./part-views.js";
import { advice, affordableTokens, complaint } from "./problems.js";
import { usageLine } from "./usage-line.js";
import { asText } from "./value-view.js";

/** @typedef {import("./part-views.js").PartView} PartView */

export class AnswerView {
  /** @type {PartView[]} */
  #views = [];
  /** @type {Set<string>} places to be painted */
  #changes = new Set([""]);
  #frame = 0;

  /**
   * @param {import("./client.js").Run} run
   * @param {Record<string, string>} input what was asked
   * @param {import("./strings.js").Strings} strings
   * @param {(options?: Record<string, unknown>) => void} retry what "Try again" does; with options for a
   *   shorter answer, where that is all that can be paid for
   * @param {{log?: boolean, account?: import("./account-offer.js").AccountOffer}} [options] log: false where
   *   the answer stands in a log already; account: how one of one's own is offered
   */
  constructor(run, input, strings, retry, { log = true, account } = {}) {
    this.run = run;
    this.input = input;
    this.strings = strings;
    this.retry = retry;
    this.account = account;
    this.isNews = run.request !== null || isGoingOn(run);
    this.status = element("span", { class: "openrouter-status" });
    const role = { role: "log", "aria-live": "off", "aria-label": strings.text("answer") };
    this.parts = element("div", { class: "openrouter-parts", ...(log ? role : {}) });
    this.problem = element("div", { class: "openrouter-problem", role: "alert", hidden: "" });
    this.usage = element("footer", { class: "openrouter-usage" });
    this.element = element(
      "article",
      { class: "openrouter-answer" },
      this.status,
      this.parts,
      this.problem,
      this.usage,
    );
  }

  connect() {
    this.run.addEventListener("change", this.#note);
    this.run.addEventListener("stopping", this.#plan);
    this.run.addEventListener("error", this.#complain);
    this.parts.addEventListener("decide", this.#decide);
    this.#paint();
  }

  disconnect() {
    this.run.removeEventListener("change", this.#note);
    this.run.removeEventListener("stopping", this.#plan);
    this.run.removeEventListener("error", this.#complain);
    this.parts.removeEventListener("decide", this.#decide);
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
  }

  /** @param {Event} event */
  #decide = (event) => {
    const { call, approve, reason } = /** @type {CustomEvent} */ (event).detail;
    this.run.decide(call, approve, reason);
  };

  /** What the server says of a call stands in its card. */
  /** @param {Event} event */
  #complain = (event) => {
    const error = /** @type {CustomEvent} */ (event).detail;
    const at = this.run.state.parts.findLastIndex((part) => part.type === "call" && part.call === error.call);
    const view = /** @type {any} */ (this.#views[at]);
    view?.complain?.(complaint(error, this.strings));
  };

  /** @param {Event} event */
  #note = (event) => {
    for (const place of /** @type {CustomEvent} */ (event).detail) this.#changes.add(place);
    this.isNews ||= isGoingOn(this.run);
    this.#plan();
  };

  #plan = () => {
    this.#frame ||= requestAnimationFrame(() => this.#paint());
  };

  #paint() {
    const changes = this.#changes;
    this.#frame = 0;
    this.#changes = new Set();
    if (changes.has("") || changes.has("/parts")) this.#paintParts();
    else for (const place of changes) this.#paintPlace(parsePointer(place) ?? []);
    this.#paintFrame();
  }

  /** All parts. Those whose type is still the same keep their elements. */
  #paintParts() {
    const { parts } = this.run.state;
    for (const view of this.#views.splice(parts.length)) view.element.remove();
    parts.forEach((_, at) => this.#paintPart(at, []));
  }

  /** @param {string[]} place */
  #paintPlace([field, at, ...tokens]) {
    if (field === "parts" && Number(at) < this.run.state.parts.length) this.#paintPart(Number(at), tokens);
  }

  /** @param {number} at @param {string[]} tokens */
  #paintPart(at, tokens) {
    const part = this.run.state.parts[at];
    const view = this.#views[at];
    if (view?.type === part.type) {
      view.update(part, tokens);
      return;
    }
    const made = Object.assign(partView(part.type, this.strings), { type: part.type });
    if (view) view.element.replaceWith(made.element);
    else this.parts.append(made.element);
    this.#views[at] = made;
    made.update(part, []);
  }

  /** What stands around the parts. */
  #paintFrame() {
    const { state, final } = this.run;
    const last = state.parts.at(-1)?.type;
    const status = this.run.phase;
    this.element.dataset.status = status;
    this.element.classList.toggle("is-live", !final);
    this.element.classList.toggle("is-thinking", !final && (!last || last === "step"));
    this.parts.setAttribute("aria-busy", String(!final && state.status !== "waiting"));
    this.status.textContent = this.strings.text(`status.${status}`);
    this.#paintProblem(state);
    if (final || state.usage) this.usage.replaceChildren(...usageLine(state, this.strings));
  }

  /** Shown once and then left alone, or it would be read out again. */
  /** @param {any} state */
  #paintProblem({ status, error, parts, payer }) {
    if (!error || !this.problem.hidden) return;
    const { account, isNews, strings } = this;
    const what = { class: "openrouter-problem__what", dir: "auto" };
    this.problem.append(element("p", what, asText(error.message)));
    const isCutShort = status === "interrupted" && parts.some(hasContent) && strings.has("advice.kept");
    const offer = account?.of(error, { payer, isNews }) ?? null;
    const isPaid = account?.isThere(error) === true;
    const help = isCutShort ? strings.text("advice.kept") : advice(error, strings, offer !== null, payer);
    const said = isPaid ? strings.text("advice.connected") : help;
    if (said) this.problem.append(element("p", {}, said));
    if (offer && !isPaid) this.problem.append(offer);
    const tokens = affordableTokens(error);
    if (tokens > 0) {
      const text = strings.text("retry.shorter", { tokens: strings.number(tokens) });
      const button = element("button", { type: "button", class: "openrouter-button" }, text);
      button.addEventListener("click", () => this.retry({ max_tokens: tokens }));
      this.problem.append(button);
    } else if (error.retryable === true || isPaid) {
      const button = element("button", { type: "button", class: "openrouter-button" }, strings.text("retry"));
      button.addEventListener("click", () => this.retry());
      this.problem.append(button);
    }
    this.problem.hidden = false;
  }
}

/** Whether the server has said that it is being written: what becomes of it has not been seen before. */
/** @param {import("./client.js").Run} run */
const isGoingOn = (run) => run.fold.seq !== null && !run.final;

/** @param {import("./state.js").Part} part */
const hasContent = (part) => part.type !== "step";
