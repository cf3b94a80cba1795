/** The answers that came before the newest one on this page, folded, newest first. */

import { element } from "./element.js";

const KEPT = 20;

export class EarlierAnswers {
  /**
   * @param {HTMLElement} root hidden as long as there are none
   * @param {import("./strings.js").Strings} strings
   */
  constructor(root, strings) {
    this.root = root;
    this.strings = strings;
    this.list = /** @type {HTMLElement} */ (root.querySelector("[data-target=earlier-list]"));
  }

  /** @param {import("./answer-view.js").AnswerView} answer */
  add(answer) {
    const asked = Object.values(answer.input).filter(Boolean).join(" · ");
    const status = this.strings.text(`status.${answer.run.state.status}`);
    const title = asked || this.strings.text("answer");
    const summary = element(
      "summary",
      {},
      element("span", { class: "openrouter-earlier__asked", dir: "auto" }, title),
      element("span", { class: "openrouter-status", "data-status": answer.run.state.status }, status),
    );
    this.list.prepend(element("details", {}, summary, answer.element));
    for (const old of Array.from(this.list.children).slice(KEPT)) old.remove();
    this.root.hidden = false;
  }
}
