/**
 * An answer in the thread: the run's own view, what the model was not given, and the ways to copy
 * it, ask again, see its other versions.
 */

import { AnswerView } from "../answer-view.js";
import { element } from "../element.js";
import { addCodeButtons, copyButton } from "./copying.js";
import { iconButton } from "./icons.js";
import { Siblings } from "./siblings.js";

export class ReplyView {
  role = "assistant";

  /**
   * @param {any} message as in a conversation's data; `message` and `parent` may not be known yet
   * @param {import("../client.js").Run} run
   * @param {import("../strings.js").Strings} strings
   * @param {import("./thread.js").Actions} actions
   */
  constructor(message, run, strings, actions) {
    this.run = run;
    this.strings = strings;
    this.id = /** @type {string | null} */ (message.message ?? null);
    this.parent = /** @type {string | null | undefined} */ (message.parent);
    this.siblings = new Siblings(strings, (id) => actions.showVersion(id));
    this.answer = new AnswerView(run, {}, strings, (options) => actions.again(this, options), {
      log: false,
      account: actions.account,
    });
    this.leftOut = element("p", { class: "openrouter-left-out", hidden: "" });
    const copy = copyButton(strings, strings.text("copy.message"), () => this.text);
    const again = iconButton("again", strings.text("regenerate"), () => actions.again(this));
    this.tools = element(
      "div",
      { class: "openrouter-tools" },
      this.siblings.element,
      copy,
      again,
      this.answer.usage,
    );
    this.element = element(
      "div",
      { class: "openrouter-message openrouter-reply" },
      this.leftOut,
      this.answer.element,
      this.tools,
    );
    this.answer.element.setAttribute("aria-label", strings.text("answer"));
    this.observer = new MutationObserver((records) => {
      for (const { addedNodes } of records) addCodeButtons(addedNodes, strings);
    });
    this.update(message);
  }

  connect() {
    this.observer.observe(this.answer.parts, { childList: true, subtree: true });
    this.run.addEventListener("change", this.#changed);
    this.answer.connect();
    this.#show();
  }

  disconnect() {
    this.observer.disconnect();
    this.run.removeEventListener("change", this.#changed);
    this.answer.disconnect();
  }

  /** @param {{message?: string | null, parent?: string | null, siblings?: (string | null)[]}} message */
  update({ message, parent, siblings }) {
    this.id = message ?? this.id;
    if (parent !== undefined) this.parent = parent;
    this.siblingIds = siblings ?? this.siblingIds ?? [this.id];
    this.siblings.show(this.siblingIds, this.id);
  }

  /** @param {string} id @param {string | null} [parent] */
  settle(id, parent) {
    this.parent ??= parent;
    const siblingIds = (this.siblingIds ?? [null]).map((known) => known ?? id);
    this.update({ message: id, siblings: siblingIds });
  }

  /** What the model said, as it said it. */
  get text() {
    const texts = this.run.state.parts.filter((part) => part.type === "text").map((part) => part.text.trim());
    return texts.filter(Boolean).join("\n\n");
  }

  /** @param {Event} event */
  #changed = (event) => {
    const places = /** @type {CustomEvent<Set<string>>} */ (event).detail;
    if (places.has("") || places.has("/status")) this.#show();
  };

  #show() {
    const { final, state } = this.run;
    this.element.classList.toggle("is-live", !final);
    this.tools.classList.toggle("is-waiting", !final);
    const count = Number.isSafeInteger(state.left_out) ? Number(state.left_out) : 0;
    this.leftOut.hidden = count < 1;
    if (count > 0) this.leftOut.textContent = this.strings.plural("left_out", count);
  }
}
