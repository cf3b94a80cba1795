/**
 * The form with one field for each variable: keeps its draft, grows with its text, says what is
 * wrong beside the field. Events: `run` when somebody asks for a run and every field is filled.
 *
 * A field without `required` is one that may be empty; the server-side template decides.
 */

export class PromptForm extends EventTarget {
  /**
   * @param {HTMLFormElement} form
   * @param {import("./memory.js").Memory} memory
   * @param {import("./strings.js").Strings} strings
   */
  constructor(form, memory, strings) {
    super();
    this.form = form;
    this.memory = memory;
    this.strings = strings;
    /** @type {Map<string, HTMLTextAreaElement>} by variable */
    this.fields = new Map();
    for (const field of form.querySelectorAll("textarea")) this.fields.set(field.name, field);
    this.alert = /** @type {HTMLElement} */ (form.querySelector("[data-target=alert]"));
  }

  connect() {
    const draft = this.memory.read("draft");
    for (const [name, field] of this.fields) {
      if (typeof draft?.[name] === "string") field.value = draft[name];
      this.#fit(field);
    }
    if (/Mac|iPhone|iPad/.test(navigator.platform)) this.#nameKeysAsApple();
    this.form.addEventListener("submit", this.#submit);
    this.form.addEventListener("input", this.#input);
    this.form.addEventListener("keydown", this.#keydown);
  }

  disconnect() {
    this.form.removeEventListener("submit", this.#submit);
    this.form.removeEventListener("input", this.#input);
    this.form.removeEventListener("keydown", this.#keydown);
  }

  #nameKeysAsApple() {
    for (const key of this.form.querySelectorAll("kbd[data-apple]")) {
      key.textContent = key.getAttribute("data-apple");
    }
  }

  /** @returns {Record<string, string>} */
  values() {
    return Object.fromEntries(Array.from(this.fields, ([name, field]) => [name, field.value]));
  }

  /**
   * Fill in what was asked elsewhere, unless somebody has written something here.
   *
   * @param {Record<string, unknown>} values
   */
  suggest(values) {
    if (this.memory.read("draft")) return;
    for (const [name, field] of this.fields) {
      if (typeof values[name] !== "string") continue;
      field.value = /** @type {string} */ (values[name]);
      this.#fit(field);
    }
  }

  /**
   * Say what is wrong: beside the field it concerns, else above the button. Both are read out.
   *
   * @param {string} message
   * @param {unknown} [names] the variables it is about
   * @param {Element | null} [offer] what one can do about it
   */
  refuse(message, names, offer) {
    const about = Array.from(this.fields.values()).filter(
      (field) => Array.isArray(names) && names.includes(field.name),
    );
    const one = about.length === 1;
    for (const field of about) this.#complain(field, one ? message : this.strings.text("field.wrong"));
    this.alert.classList.toggle("openrouter-hidden", one);
    this.alert.textContent = message;
    if (offer) this.alert.append(" ", offer);
    this.alert.hidden = false;
  }

  /** Forget what was said. */
  forgive() {
    this.alert.hidden = true;
    this.alert.textContent = "";
    for (const field of this.fields.values()) this.#complain(field, "");
  }

  /** @param {Event} event */
  #submit = (event) => {
    event.preventDefault();
    this.forgive();
    const empty = Array.from(this.fields.values()).filter((field) => field.required && !field.value.trim());
    for (const field of empty) this.#complain(field, this.strings.text("field.empty"));
    if (empty.length) empty[0].focus();
    else this.dispatchEvent(new Event("run"));
  };

  /** @param {Event} event */
  #input = (event) => {
    const field = /** @type {HTMLTextAreaElement} */ (event.target);
    this.#fit(field);
    this.#complain(field, "");
    this.memory.write("draft", this.values());
  };

  /** @param {KeyboardEvent} event */
  #keydown = (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    this.form.requestSubmit();
  };

  /** @param {HTMLTextAreaElement} field @param {string} message empty: nothing is wrong */
  #complain(field, message) {
    const place = document.getElementById(`${field.id}-error`);
    if (!place) return;
    place.textContent = message;
    place.hidden = !message;
    field.setAttribute("aria-invalid", String(Boolean(message)));
  }

  /** Where the style sheet cannot make a field as high as its text. */
  /** @param {HTMLTextAreaElement} field */
  #fit(field) {
    if (CSS.supports("field-sizing", "content")) return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
  }
}
