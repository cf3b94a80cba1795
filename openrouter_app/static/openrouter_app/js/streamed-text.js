/**
 * Text that grows in place. Shown again with more at its end, it appends; only different text is
 * written anew. So nothing flickers, a reader's selection stays, and a snapshot after a lost
 * connection continues the text on the page.
 *
 * The text stands in blocks, a paragraph each: what has been said is not laid out again for what
 * is added, and each paragraph finds its own direction. The newlines that end a block stay in it,
 * so the blocks joined are the text, and look like it under `white-space: pre-wrap`.
 */

import { element } from "./element.js";

const LINES = /(?<=\n)(?=[^\n])/; // between a line, with all newlines behind it, and the next
const LONG = 4_000; // characters after which a block ends without a blank line too

export class StreamedText {
  #shown = "";
  /** @type {HTMLElement | null} */
  #block = null;
  #blockText = "";
  #written = 0; // how much of the block's text is on the page

  /** @param {HTMLElement} host an empty element */
  constructor(host) {
    this.host = host;
  }

  /** @param {string} text */
  show(text) {
    if (!text.startsWith(this.#shown)) {
      this.host.replaceChildren();
      this.#beginBlock();
      this.#shown = "";
    }
    for (const line of text.slice(this.#shown.length).split(LINES)) {
      if (endsBlock(this.#blockText) && !line.startsWith("\n")) {
        this.#write();
        this.#beginBlock();
      }
      this.#blockText += line;
    }
    this.#write();
    this.#shown = text;
  }

  #beginBlock() {
    this.#block = null;
    this.#blockText = "";
    this.#written = 0;
  }

  #write() {
    const text = this.#blockText.slice(this.#written);
    if (!text) return;
    if (this.#block) {
      /** @type {Text} */ (this.#block.firstChild).appendData(text);
    } else {
      this.#block = element("div", { dir: "auto" }, text);
      this.host.append(this.#block);
    }
    this.#written = this.#blockText.length;
  }
}

/** @param {string} text */
const endsBlock = (text) => text.endsWith("\n\n") || (text.length > LONG && text.endsWith("\n"));
