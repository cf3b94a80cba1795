/** What somebody asked: the message, its further fields, and the ways to copy it, change it, see its other versions. */

import { element } from "../element.js";
import { StreamedText } from "../streamed-text.js";
import { asText } from "../value-view.js";
import { copyButton } from "./copying.js";
import { Editor } from "./editor.js";
import { iconButton } from "./icons.js";
import { Siblings } from "./siblings.js";

/** @typedef {import("./thread.js").Actions} Actions */

export class QuestionView {
  role = "user";

  /**
   * @param {any} message as in a conversation's data; `message` and `parent` may not be known yet
   * @param {{message_variable: string, fields: {name: string, label: string}[]}} config
   * @param {import("../strings.js").Strings} strings
   * @param {Actions} actions
   */
  constructor(message, config, strings, actions) {
    this.config = config;
    this.strings = strings;
    this.actions = actions;
    this.id = /** @type {string | null} */ (message.message ?? null);
    this.parent = /** @type {string | null | undefined} */ (message.parent);
    this.input = /** @type {Record<string, string>} */ (message.input ?? {});
    this.text = asText(this.input[config.message_variable] ?? message.text ?? "");
    this.siblings = new Siblings(strings, (id) => actions.showVersion(id));
    this.body = element("div", { class: "openrouter-question__text" });
    new StreamedText(this.body).show(this.text);
    const copy = copyButton(strings, strings.text("copy.message"), () => this.text);
    this.editButton = iconButton("edit", strings.text("edit"), () => this.#edit(this.text));
    // The versions come last, so that they stand at the edge while the buttons are not there.
    const tools = element("div", { class: "openrouter-tools" }, copy, this.editButton, this.siblings.element);
    this.bubble = element("div", { class: "openrouter-question__bubble" }, this.body, ...this.#further());
    this.element = element(
      "article",
      { class: "openrouter-message openrouter-question", "aria-label": strings.text("you") },
      this.bubble,
      tools,
    );
    this.update(message);
  }

  /** @param {{message?: string | null, parent?: string | null, siblings?: (string | null)[]}} message */
  update({ message, parent, siblings }) {
    this.id = message ?? this.id;
    if (parent !== undefined) this.parent = parent;
    this.siblingIds = siblings ?? this.siblingIds ?? [this.id];
    this.siblings.show(this.siblingIds, this.id);
  }

  /** The server has made it a message. */
  /** @param {string} id @param {string | null} parent what it comes after, where the start left that open */
  settle(id, parent) {
    if (this.parent === undefined) this.parent = parent;
    const siblingIds = (this.siblingIds ?? [null]).map((known) => known ?? id);
    this.update({ message: id, siblings: siblingIds });
  }

  connect() {}

  disconnect() {}

  /** Write it anew, where it stands. */
  /** @param {string} text to begin with @param {string} [problem] */
  #edit(text, problem) {
    if (this.editor) return;
    const done = (/** @type {string | null} */ changed) => {
      this.editor?.element.replaceWith(this.bubble);
      this.editor = undefined;
      this.element.classList.remove("is-edited");
      if (changed === null || changed === this.text) this.editButton.focus();
      else this.actions.edit(this, { ...this.input, [this.config.message_variable]: changed });
    };
    this.editor = new Editor(text, this.strings, done);
    this.element.classList.add("is-edited");
    this.bubble.replaceWith(this.editor.element);
    this.editor.open(problem);
  }

  /** A changed question was refused: what was written is not lost. */
  /** @param {Record<string, string>} input @param {string} problem */
  refuse(input, problem) {
    this.#edit(input[this.config.message_variable] ?? "", problem);
  }

  *#further() {
    const { fields, message_variable: main } = this.config;
    const filled = fields.filter(({ name }) => name !== main && asText(this.input[name] ?? "") !== "");
    if (!filled.length) return;
    const list = element("dl", { class: "openrouter-question__fields" });
    for (const { name, label } of filled) {
      const value = element("dd", { dir: "auto" }, asText(this.input[name]));
      list.append(element("div", {}, element("dt", { dir: "auto" }, label), value));
    }
    yield list;
  }
}
