/**
 * One view for each type of part. A view has an `element`, and `update(part, tokens)` shows what
 * stands at a place of its part (no tokens: all of it).
 *
 * @typedef {{element: HTMLElement, update: (part: any, tokens: string[]) => void}} PartView
 */

import { CallCard } from "./call-card.js";
import { element } from "./element.js";
import { RenderedText } from "./rendered-text.js";
import { StreamedText } from "./streamed-text.js";
import { ValueView, asText } from "./value-view.js";

/** @typedef {import("./strings.js").Strings} Strings */

/** @param {string} type @param {Strings} strings @returns {PartView} */
export function partView(type, strings) {
  const View = VIEWS.get(type) ?? UnknownPart;
  const view = new View(strings);
  view.element.classList.add("openrouter-part");
  view.element.dataset.type = VIEWS.has(type) ? type : "unknown";
  return view;
}

class TextPart {
  element = element("div", { class: "openrouter-text" });
  #view = /** @type {StreamedText | RenderedText} */ (new StreamedText(this.element));

  /** @param {any} part */
  update(part) {
    const isRendered = Array.isArray(part.blocks);
    if (isRendered !== this.#view instanceof RenderedText) {
      this.element.replaceChildren();
      this.#view = isRendered ? new RenderedText(this.element) : new StreamedText(this.element);
    }
    if (this.#view instanceof RenderedText) this.#view.show(part.blocks, part.rest);
    else this.#view.show(part.text);
  }
}

class ReasoningPart {
  #summary = element("summary");
  #body = element("div", { class: "openrouter-text" });
  #text = new StreamedText(this.#body);
  element = element("details", { class: "openrouter-reasoning" }, this.#summary, this.#body);

  /** @param {Strings} strings */
  constructor(strings) {
    this.strings = strings;
  }

  /** @param {any} part */
  update(part) {
    const known = Number.isFinite(part.ms) && part.ms > 0;
    this.#summary.textContent = known
      ? this.strings.text("reasoning.time", { seconds: this.strings.seconds(part.ms) })
      : this.strings.text("reasoning");
    this.#text.show(part.text);
  }
}

/** A model call begins. The first needs no word; of later ones the model is worth knowing. */
class StepPart {
  element = element("p", { class: "openrouter-step", dir: "auto" });

  /** @param {any} part */
  update(part) {
    const words = [part.name, part.model].filter((word) => typeof word === "string");
    this.element.textContent = words.join(" · ");
  }
}

class JsonPart {
  #view = new ValueView(element("div", { class: "openrouter-card__arguments" }));
  element = element("section", { class: "openrouter-card" }, this.#view.host);

  /** @param {any} part @param {string[]} tokens */
  update(part, [field, ...rest]) {
    if (field === "value") this.#view.refresh(part.value, rest);
    else if (field !== "open") this.#view.show(part.value);
  }
}

/** A file of ours, for its owner: never an address elsewhere. */
class FilePart {
  element = element("p", { class: "openrouter-link" });

  /** @param {any} part */
  update(part) {
    const url = webAddress(part.url);
    const name = asText(part.name ?? part.media_type ?? part.url);
    const ours = url?.origin === location.origin;
    const link = ours ? element("a", { href: url.href, download: "", dir: "auto" }, name) : name;
    this.element.replaceChildren(link);
  }
}

/** A page the answer refers to. Its host is shown, because its title is only what it says of itself. */
class SourcePart {
  element = element("p", { class: "openrouter-link" });

  /** @param {any} part */
  update(part) {
    const url = webAddress(part.url);
    const title = asText(part.title || part.url);
    if (!url) return this.element.replaceChildren(title);
    const to = { href: url.href, rel: "noopener noreferrer nofollow", target: "_blank", dir: "auto" };
    this.element.replaceChildren(element("a", to, title), " ", element("small", {}, url.host));
  }
}

/** Something a newer server knows how to say. */
class UnknownPart {
  /** @param {Strings} strings */
  constructor(strings) {
    this.element = element("p", { class: "openrouter-unknown" }, strings.text("part.unknown"));
  }

  update() {}
}

/** @type {Map<string, new (strings: Strings) => PartView>} */
const VIEWS = new Map(
  /** @type {[string, any][]} */ ([
    ["text", TextPart],
    ["reasoning", ReasoningPart],
    ["step", StepPart],
    ["json", JsonPart],
    ["call", CallCard],
    ["file", FilePart],
    ["source", SourcePart],
  ]),
);

/** @param {unknown} address @returns {URL | null} null for anything but http and https */
function webAddress(address) {
  if (typeof address !== "string") return null;
  try {
    const url = new URL(address, location.href);
    return ["http:", "https:"].includes(url.protocol) ? url : null;
  } catch {
    return null;
  }
}
