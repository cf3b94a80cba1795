/**
 * A JSON value on the page: objects as definition lists, arrays as lists, text as text. It can be
 * shown whole, or refreshed at one place; either way what is there already stays the same node,
 * and only what differs is written.
 */

import { element } from "./element.js";
import { member } from "./operations.js";
import { StreamedText } from "./streamed-text.js";

export class ValueView {
  #kind = "none";
  /** @type {{show: (value: any) => void} | Members | null} */
  #content = null;

  /** @param {HTMLElement} host an empty element; it outlives every value shown in it */
  constructor(host) {
    this.host = host;
    host.classList.add("openrouter-value");
  }

  /** @param {unknown} value */
  show(value) {
    const kind = kindOf(value);
    if (kind !== this.#kind) {
      this.host.replaceChildren();
      this.host.dataset.kind = kind;
      this.#kind = kind;
      this.#content = CONTENTS[kind](this.host);
    }
    this.#content?.show(value);
  }

  /**
   * Show what stands at one place of the value; the rest is as it was.
   *
   * @param {unknown} value the whole value
   * @param {string[]} tokens the place
   */
  refresh(value, tokens) {
    if (tokens.length && this.#content instanceof Members && kindOf(value) === this.#kind) {
      this.#content.refresh(value, tokens);
    } else {
      this.show(value);
    }
  }

  /** @param {string[]} tokens @returns {ValueView | null} the view of what stands at a place */
  at(tokens) {
    const [first, ...rest] = tokens;
    if (first === undefined) return this;
    return this.#content instanceof Members ? (this.#content.views.get(first)?.at(rest) ?? null) : null;
  }
}

/**
 * Anything as one piece of text. (`String` would call a `toString` that came with the JSON.)
 *
 * @param {unknown} value
 */
export function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value) ?? "";
}

/** @typedef {"none" | "text" | "scalar" | "object" | "array"} Kind */

/** @param {unknown} value @returns {Kind} */
function kindOf(value) {
  if (value === undefined) return "none";
  if (typeof value === "string") return "text";
  if (typeof value !== "object" || value === null) return "scalar";
  return Array.isArray(value) ? "array" : "object";
}

/** @type {Record<Kind, (host: HTMLElement) => {show: (value: any) => void} | null>} */
const CONTENTS = {
  none: () => null,
  text: (host) => new StreamedText(host),
  scalar: (host) => ({ show: (value) => void (host.textContent = asText(value)) }),
  object: (host) => new Members(host, element("dl"), field),
  array: (host) => new Members(host, element("ol"), item),
};

/** The members of an object, or the items of an array. */
class Members {
  /** @type {Map<string, ValueView>} */
  views = new Map();

  /**
   * @param {HTMLElement} host
   * @param {HTMLElement} list
   * @param {(key: string) => {row: HTMLElement, host: HTMLElement}} makeRow
   */
  constructor(host, list, makeRow) {
    this.list = list;
    this.makeRow = makeRow;
    host.append(list);
  }

  /** @param {Record<string, unknown>} value */
  show(value) {
    for (const [key, view] of this.views) {
      if (Object.hasOwn(value, key)) continue;
      view.host.closest(".openrouter-member")?.remove();
      this.views.delete(key);
    }
    for (const key of Object.keys(value)) this.#view(key).show(value[key]);
  }

  /** @param {unknown} value @param {string[]} tokens */
  refresh(value, [key, ...rest]) {
    const inner = member(value, key);
    if (inner !== undefined) this.#view(key).refresh(inner, rest);
  }

  /** @param {string} key */
  #view(key) {
    let view = this.views.get(key);
    if (!view) {
      const { row, host } = this.makeRow(key);
      view = new ValueView(host);
      this.views.set(key, view);
      this.list.append(row);
    }
    return view;
  }
}

/** @param {string} key */
function field(key) {
  const host = element("dd");
  const row = element("div", { class: "openrouter-member" }, element("dt", { dir: "auto" }, key), host);
  return { row, host };
}

function item() {
  const host = element("div");
  return { row: element("li", { class: "openrouter-member" }, host), host };
}
