/**
 * Text of which the server has rendered the finished blocks: their HTML, then the open rest as text.
 *
 * A block is put on the page once and never touched again: a reader's selection stays, and so does
 * how far a wide table is scrolled. Only what differs from what is shown is made anew.
 *
 * This is the one place where a string becomes markup. It comes from `openrouter_app.markdown`, over
 * our own socket, and never from a model as it stands.
 */

import { element } from "./element.js";
import { StreamedText } from "./streamed-text.js";

export class RenderedText {
  /** @type {string[]} the blocks on the page */
  #shown = [];
  #rest = element("div", { class: "openrouter-rest" });
  #text = new StreamedText(this.#rest);

  /** @param {HTMLElement} host an empty element */
  constructor(host) {
    this.host = host;
    host.append(this.#rest);
  }

  /** @param {string[]} blocks @param {string} rest */
  show(blocks, rest) {
    const same = this.#countSame(blocks);
    for (const _ of this.#shown.splice(same)) this.host.children[same].remove();
    for (const html of blocks.slice(same)) {
      this.#rest.before(block(html));
      this.#shown.push(html);
    }
    // The blank lines between the last block and the rest are the page's business.
    this.#text.show(rest.replace(/^(?:[ \t\r]*\n)+/, ""));
    this.#rest.hidden = this.#rest.childElementCount === 0;
  }

  /** How many blocks stand already. */
  /** @param {string[]} blocks */
  #countSame(blocks) {
    const different = this.#shown.findIndex((html, at) => html !== blocks[at]);
    return different < 0 ? this.#shown.length : different;
  }
}

/** @param {string} html @returns {HTMLElement} */
function block(html) {
  const made = element("div", { class: "openrouter-markdown" });
  made.innerHTML = html;
  return made;
}
