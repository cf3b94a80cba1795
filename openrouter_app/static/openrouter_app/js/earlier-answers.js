/** The answers that came before the newest one on this page, folded, newest first. */

import { element } from "./element.js";

const KEPT = 20;

/** @typedef {import("./answer-view.js").AnswerView} AnswerView */

export class EarlierAnswers {
  /** @type {{answer: AnswerView, fold: HTMLElement}[]} */
  #answers = [];

  /**
   * @param {HTMLElement} root hidden as long as there are none
   * @param {import("./strings.js").Strings} strings
   */
  constructor(root, strings) {
    this.root = root;
    this.strings = strings;
    this.list = /** @type {HTMLElement} */ (root.querySelector("[data-target=earlier-list]"));
  }

  /** @param {AnswerView} answer */
  add(answer) {
    const asked = Object.values(answer.input).filter(Boolean).join(" · ");
    const title = asked || this.strings.text("answer");
    const { status } = answer.run.state;
    const word = this.strings.text(`status.${status}`);
    const summary = element(
      "summary",
      {},
      element("span", { class: "openrouter-earlier__asked", dir: "auto" }, title),
      element("span", { class: "openrouter-status", "data-status": status }, word),
    );
    const fold = element("details", {}, summary, answer.element);
    this.#answers.unshift({ answer, fold });
    this.#answers.splice(KEPT).forEach((old) => old.fold.remove());
    this.list.prepend(fold);
    this.root.hidden = false;
  }

  /** The newest of them, which is not earlier any more: what came after it came to nothing. */
  /** @returns {AnswerView | null} */
  takeBack() {
    const newest = this.#answers.shift();
    newest?.fold.remove();
    this.root.hidden = this.#answers.length === 0;
    return newest?.answer ?? null;
  }
}
