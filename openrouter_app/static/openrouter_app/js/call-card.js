/**
 * A tool call as a card: the tool's name, its arguments filling in while the model writes them,
 * how far it has come, and what came of it.
 */

import { DecisionForm } from "./decision-form.js";
import { element } from "./element.js";
import { parsePointer } from "./operations.js";
import { ValueView, asText } from "./value-view.js";

/** Whoever has got this far has said all his arguments: none are none. */
const SAID = new Set(["ready", "waiting", "approved", "denied", "running", "done", "failed"]);

const LONG = 160; // characters of a result that is folded

export class CallCard {
  /** @type {HTMLElement | null} the value that grows now */
  #growing = null;

  /** @param {import("./strings.js").Strings} strings */
  constructor(strings) {
    this.strings = strings;
    this.name = element("h3", { class: "openrouter-card__name", dir: "auto" });
    this.status = element("span", { class: "openrouter-status" });
    this.arguments = new ValueView(element("div", { class: "openrouter-card__arguments" }));
    /** @type {DecisionForm | null} made for the first decision: most calls need none */
    this.decision = null;
    this.outcome = element("div", { class: "openrouter-card__outcome" });
    this.element = element(
      "div",
      { class: "openrouter-card", role: "group", tabindex: "-1" },
      element("header", { class: "openrouter-card__head" }, this.name, this.status),
      this.arguments.host,
      this.outcome,
    );
  }

  /** @param {any} part @param {string[]} tokens the place in the part that has changed */
  update(part, [field, ...rest]) {
    if (field === "arguments") this.arguments.refresh(part.arguments, rest);
    else if (field !== "open") this.#showAll(part);
    this.#mark(part);
  }

  /** @param {any} part */
  #showAll(part) {
    const { strings } = this;
    const status = asText(part.status);
    const name = asText(part.name);
    this.element.dataset.status = status;
    this.element.setAttribute("aria-label", strings.text("call.label", { name }));
    this.name.textContent = name;
    this.status.textContent = strings.text(`call.${status}`);
    const nothing = status !== "writing" && isEmpty(part.arguments);
    this.arguments.show(nothing || status === "invalid" ? undefined : part.arguments);
    this.arguments.host.dataset.empty = nothing && SAID.has(status) ? strings.text("call.empty") : "";
    if (status === "waiting") this.decision ??= this.#askForDecision();
    this.decision?.show(part);
    this.outcome.replaceChildren(...this.#outcome(part));
  }

  #askForDecision() {
    const form = new DecisionForm(this.strings);
    this.outcome.before(form.element);
    return form;
  }

  /** A decision on this call was refused. */
  /** @param {string} message */
  complain(message) {
    this.decision?.complain(message);
  }

  /** @param {any} part */
  *#outcome(part) {
    const { strings } = this;
    const problem = { class: "openrouter-card__problem", dir: "auto" };
    if (part.message) yield element("p", problem, shown(part.message));
    if (part.raw !== undefined) yield element("pre", { dir: "auto", tabindex: "0" }, shown(part.raw));
    if (part.reason) {
      const reason = element("span", { dir: "auto" }, shown(part.reason));
      yield element("p", {}, element("small", {}, `${strings.text("call.reason")}: `), reason);
    }
    if (part.error) yield element("p", problem, shown(part.error));
    if (part.output !== undefined && part.output !== null) {
      const view = new ValueView(element("div"));
      view.show(part.output);
      const fold = element("details", {}, element("summary", {}, strings.text("call.output")), view.host);
      fold.open = asText(part.output).length <= LONG;
      yield fold;
    }
  }

  /** @param {any} part */
  #mark(part) {
    const place = part.status === "writing" ? parsePointer(part.open) : null;
    const growing = (place && this.arguments.at(place)?.host) ?? null;
    if (growing === this.#growing) return;
    this.#growing?.classList.remove("is-growing");
    growing?.classList.add("is-growing");
    this.#growing = growing;
  }
}

/** An error or a reason: text, or something with a message. */
/** @param {unknown} value */
const shown = (value) => asText(/** @type {any} */ (value)?.message ?? value);

/** @param {unknown} value */
const isEmpty = (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0;
