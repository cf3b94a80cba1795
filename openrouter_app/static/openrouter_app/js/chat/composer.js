/**
 * Where a message is written: the field, the chain's further fields, the model, the buttons, and
 * the one message that waits for an answer to end.
 *
 * Events: `send` {input, options}, `stop`, `release` (the held message is to go now), `held` (there
 * is one, or none any more).
 *
 * @typedef {{input: Record<string, string>, options?: Record<string, string>}} Held
 */

import { element } from "../element.js";

let made = 0; // elements so far, for ids that several chats on a page do not share

/**
 * Whether a key sends: Enter does; with Shift it begins a line, and while an input method composes
 * a word it takes the word. (Safari ends the composing before the key; it has the old key code.)
 *
 * @param {KeyboardEvent} event
 */
export function isSubmit(event) {
  return event.key === "Enter" && !event.shiftKey && !event.altKey && !event.isComposing && event.keyCode !== 229;
}

export class Composer extends EventTarget {
  /** @type {Held | null} a message that waits */
  held = null;
  /** @type {string | undefined} why that is not sent by itself */
  problem = undefined;
  #draftKey = "draft";

  /**
   * @param {HTMLFormElement} form
   * @param {any} config
   * @param {import("../memory.js").Memory} memory
   * @param {import("../strings.js").Strings} strings
   */
  constructor(form, config, memory, strings) {
    super();
    this.form = form;
    this.memory = memory;
    this.strings = strings;
    this.variable = /** @type {string} */ (config.message_variable);
    /** @type {Map<string, HTMLTextAreaElement>} by variable */
    this.fields = new Map();
    for (const field of form.querySelectorAll("textarea")) this.fields.set(field.dataset.variable ?? "", field);
    // Who may only read has a form without fields.
    this.message = this.fields.get(config.message_variable) ?? element("textarea");
    this.further = /** @type {HTMLDetailsElement | null} */ (this.#target("further"));
    this.model = /** @type {HTMLSelectElement | null} */ (this.#target("model"));
    this.alert = this.#target("alert");
    this.waiting = this.#target("held") ?? element("div");
    this.sendButton = this.#target("send") ?? element("button");
    this.stopButton = this.#target("stop") ?? element("button");
    form.noValidate = true; // what is missing is said below, and read out
  }

  /** @param {string} name @returns {any} */
  #target(name) {
    return this.form.querySelector(`[data-target="${name}"]`);
  }

  connect() {
    this.form.addEventListener("submit", this.#submit);
    this.form.addEventListener("input", this.#input);
    this.form.addEventListener("keydown", this.#keydown);
    this.stopButton.addEventListener("click", this.#stop);
    this.sendButton.disabled = this.stopButton.disabled = false;
    for (const [name, field] of this.fields) {
      if (field === this.message) continue;
      const kept = this.memory.read("fields")?.[name];
      if (typeof kept === "string") field.value = kept;
      this.#fit(field);
    }
    this.#rememberModel();
    this.#foldFurther();
  }

  disconnect() {
    this.form.removeEventListener("submit", this.#submit);
    this.form.removeEventListener("input", this.#input);
    this.form.removeEventListener("keydown", this.#keydown);
    this.stopButton.removeEventListener("click", this.#stop);
  }

  /** Show what was begun, and what waits, in this conversation. */
  /** @param {string | null} conversation */
  open(conversation) {
    this.#draftKey = `draft:${conversation ?? "new"}`;
    this.message.value = this.memory.read(this.#draftKey) ?? "";
    this.#fit(this.message);
    this.forgive();
    const { held = null, problem } = this.memory.read(this.#heldKey) ?? {};
    this.hold(held, problem);
  }

  /** The new conversation has a name now; what was written meanwhile belongs to it. */
  /** @param {string} conversation */
  rename(conversation) {
    const { held, problem } = this;
    this.memory.write(this.#draftKey, undefined);
    this.memory.write(this.#heldKey, undefined);
    this.#draftKey = `draft:${conversation}`;
    this.#keepDraft();
    this.hold(held, problem);
  }

  /** Whether a message waits in this conversation, which need not be the one that is open. */
  /** @param {string} conversation */
  waitsIn(conversation) {
    return this.memory.read(`held:${conversation}`) !== undefined;
  }

  get #heldKey() {
    return this.#draftKey.replace("draft", "held");
  }

  /** @param {string} text unless something is written already */
  suggest(text) {
    if (!this.message.value.trim()) this.#write(text);
    this.message.focus();
  }

  /** Take back what could not be sent; what was written since stays behind it. */
  /** @param {Record<string, string>} input */
  restore(input) {
    const text = input[this.variable] ?? "";
    const since = this.message.value;
    this.#write(since.trim() && since !== text ? `${text}\n\n${since}` : text);
  }

  /** @param {string} text */
  #write(text) {
    this.message.value = text;
    this.#keepDraft();
    this.#fit(this.message);
  }

  #keepDraft() {
    this.memory.write(this.#draftKey, this.message.value || undefined);
  }

  /** @param {boolean} busy whether an answer is being written @param {boolean} stopping */
  showBusy(busy, stopping) {
    this.form.classList.toggle("is-busy", busy);
    // Where the focus is on it, the button that goes away would take the focus along.
    if (!busy && document.activeElement === this.stopButton) this.message.focus({ preventScroll: true });
    this.stopButton.hidden = !busy;
    this.stopButton.setAttribute("aria-disabled", String(stopping));
  }

  /**
   * Keep a message that is to be sent later, in sight.
   *
   * @param {Held | null} held
   * @param {string} [problem] why it is not sent by itself
   */
  hold(held, problem) {
    const isNews = (held === null) !== (this.held === null);
    this.held = held;
    this.problem = held ? problem : undefined;
    this.memory.write(this.#heldKey, held ? { held, problem } : undefined);
    if (isNews) this.#tell("held");
    this.waiting.hidden = held === null;
    this.waiting.replaceChildren();
    if (held === null) return;
    const { strings } = this;
    const text = element("p", { class: "openrouter-held__text", dir: "auto" }, held.input[this.variable] ?? "");
    const word = element("p", { class: "openrouter-held__word", role: "status" }, problem ?? strings.text("held"));
    const buttons = element("div", { class: "openrouter-held__buttons" });
    if (problem) buttons.append(this.#heldButton("held.send", () => this.#tell("release")));
    buttons.append(this.#heldButton("held.edit", this.#takeBack));
    this.waiting.append(word, text, buttons);
  }

  /** @param {string} key @param {() => void} act */
  #heldButton(key, act) {
    const button = element("button", { type: "button", class: "openrouter-link-button" }, this.strings.text(key));
    button.addEventListener("click", act);
    return button;
  }

  #takeBack = () => {
    if (this.held) this.restore(this.held.input);
    this.hold(null);
    this.message.focus();
  };

  /**
   * @param {string} message
   * @param {unknown} [names] the variables it is about
   * @param {Element | null} [offer] what one can do about it
   */
  refuse(message, names, offer) {
    const about = [...this.fields.values()].filter((field) => Array.isArray(names) && names.includes(field.dataset.variable));
    for (const field of about) this.#mark(field);
    this.alert.textContent = message;
    if (offer) this.alert.append(" ", offer);
    this.alert.hidden = false;
  }

  forgive() {
    this.alert.hidden = true;
    this.alert.textContent = "";
    for (const field of this.fields.values()) field.removeAttribute("aria-invalid");
  }

  /** What a start says beside its input. */
  get options() {
    const model = this.model?.value;
    return model ? { model } : undefined;
  }

  /** @returns {Record<string, string>} */
  #values() {
    return Object.fromEntries(Array.from(this.fields, ([name, field]) => [name, field.value]));
  }

  /** @param {Event} event */
  #submit = (event) => {
    event.preventDefault();
    this.forgive();
    const empty = [...this.fields.values()].filter((field) => field.required && !field.value.trim());
    if (empty.length) return this.#complain(empty);
    const detail = { input: this.#values(), options: this.options };
    const wanted = new CustomEvent("send", { detail, cancelable: true });
    if (!this.dispatchEvent(wanted)) return;
    this.#write("");
  };

  /** @param {HTMLTextAreaElement[]} empty */
  #complain(empty) {
    const further = empty.filter((field) => field !== this.message);
    if (further.length && this.further) this.further.open = true;
    if (further.length) this.refuse(this.strings.text("field.empty"), further.map((field) => field.dataset.variable));
    (further[0] ?? empty[0]).focus();
  }

  /** @param {HTMLElement} field */
  #mark(field) {
    this.alert.id ||= `openrouter-alert-${(made += 1)}`;
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", this.alert.id);
  }

  /** @param {Event} event */
  #input = (event) => {
    const field = event.target;
    if (!(field instanceof HTMLTextAreaElement)) return;
    field.removeAttribute("aria-invalid");
    this.#fit(field);
    if (field === this.message) this.#keepDraft();
    else this.#keepFurther();
  };

  #keepFurther() {
    const { [this.variable]: _, ...further } = this.#values();
    this.memory.write("fields", further);
  }

  /** @param {KeyboardEvent} event */
  #keydown = (event) => {
    if (event.target !== this.message || !isSubmit(event)) return;
    event.preventDefault();
    this.form.requestSubmit();
  };

  #stop = () => this.#tell("stop");

  /** @param {string} type */
  #tell(type) {
    this.dispatchEvent(new Event(type));
  }

  #rememberModel() {
    if (!this.model) return;
    const kept = this.memory.read("model");
    const has = [...this.model.options].some((option) => option.value === kept);
    if (has) this.model.value = kept;
    this.model.onchange = () => this.memory.write("model", this.model?.value);
  }

  /** Fields that are filled in stand folded; those that are missing are in sight. */
  #foldFurther() {
    if (!this.further) return;
    const { further } = this;
    const missing = [...this.fields.values()].some(
      (field) => further.contains(field) && field.required && !field.value.trim(),
    );
    further.open = missing;
  }

  /** Where the style sheet cannot make a field as high as its text. */
  /** @param {HTMLTextAreaElement} field */
  #fit(field) {
    if (CSS.supports("field-sizing", "content")) return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
  }
}
