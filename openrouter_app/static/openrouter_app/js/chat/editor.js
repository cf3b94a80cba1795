/** A text that is changed in place: Enter saves it, Escape leaves it as it was. */

import { element } from "../element.js";
import { isSubmit } from "./composer.js";

export class Editor {
  /**
   * @param {string} text
   * @param {import("../strings.js").Strings} strings
   * @param {(text: string | null) => void} done null: as it was
   */
  constructor(text, strings, done) {
    this.done = done;
    this.field = element("textarea", { dir: "auto", rows: "1", "aria-label": strings.text("edit.label") });
    this.field.value = text;
    this.problem = element("p", { class: "openrouter-alert", role: "alert", hidden: "" });
    const save = element("button", { type: "submit", class: "openrouter-button is-primary" }, strings.text("edit.save"));
    const cancel = element("button", { type: "button", class: "openrouter-button" }, strings.text("cancel"));
    const note = element("p", { class: "openrouter-editor__note" }, strings.text("edit.note"));
    const buttons = element("div", { class: "openrouter-editor__buttons" }, save, cancel);
    this.element = element("form", { class: "openrouter-editor" }, this.field, this.problem, note, buttons);
    this.element.addEventListener("submit", this.#submit);
    this.element.addEventListener("keydown", this.#keydown);
    cancel.addEventListener("click", () => done(null));
  }

  /** @param {string} [problem] */
  open(problem) {
    if (problem) {
      this.problem.textContent = problem;
      this.problem.hidden = false;
    }
    this.field.focus();
    this.field.setSelectionRange(this.field.value.length, this.field.value.length);
  }

  /** @param {Event} event */
  #submit = (event) => {
    event.preventDefault();
    const text = this.field.value;
    if (text.trim()) this.done(text);
    else this.field.focus();
  };

  /** @param {KeyboardEvent} event */
  #keydown = (event) => {
    if (event.key === "Escape" && !event.isComposing) {
      event.preventDefault();
      this.done(null);
    } else if (event.target === this.field && isSubmit(event)) {
      event.preventDefault();
      this.element.requestSubmit();
    }
  };
}
