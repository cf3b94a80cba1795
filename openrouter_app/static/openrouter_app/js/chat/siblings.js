/** "2 / 3": which version of a message is shown, and the ways to the one before and after it. */

import { element } from "../element.js";
import { iconButton } from "./icons.js";

export class Siblings {
  /** @type {(string | null)[]} */
  #ids = [];
  #at = 0;

  /**
   * @param {import("../strings.js").Strings} strings
   * @param {(id: string) => void} show
   */
  constructor(strings, show) {
    this.strings = strings;
    this.previous = iconButton("previous", strings.text("sibling.previous"), () => this.#go(-1, show));
    this.next = iconButton("next", strings.text("sibling.next"), () => this.#go(1, show));
    this.count = element("span", { class: "openrouter-siblings__count" });
    this.element = element(
      "div",
      { class: "openrouter-siblings", role: "group", "aria-label": strings.text("sibling.label"), hidden: "" },
      this.previous,
      this.count,
      this.next,
    );
  }

  /** @param {(string | null)[]} ids null: not known yet @param {string | null} id the one that is shown */
  show(ids, id) {
    this.#ids = ids;
    this.#at = Math.max(ids.indexOf(id), 0);
    this.element.hidden = ids.length < 2;
    const place = { number: this.strings.number(this.#at + 1), count: this.strings.number(ids.length) };
    this.count.textContent = this.strings.text("sibling.count", place);
    this.previous.setAttribute("aria-disabled", String(this.#at === 0));
    this.next.setAttribute("aria-disabled", String(this.#at === ids.length - 1));
  }

  /** @param {number} step @param {(id: string) => void} show */
  #go(step, show) {
    const id = this.#ids[this.#at + step];
    if (id) show(id);
  }
}
