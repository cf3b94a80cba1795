/**
 * Something asked: it stands in the thread at once, and gets its names when the server has accepted
 * it. If nothing comes of it, the thread is as before.
 *
 * Events: `accepted` {conversation}, `settled` (question and answer are messages now), `refused`
 * (the server's error), `withdrawn` (it was stopped before the server had heard of it).
 *
 * @typedef {object} Wanted
 * @property {string} [id] of the start, where it is said once more
 * @property {Record<string, string>} [input] absent: another answer to the parent
 * @property {string | null} [parent] absent: the end of the conversation
 * @property {Record<string, unknown>} [options]
 */

import { newId } from "../client.js";
import { QuestionView } from "./question-view.js";
import { ReplyView } from "./reply-view.js";

const TITLE = 60; // characters

export class Asking extends EventTarget {
  /**
   * @param {import("./chat.js").Chat} chat
   * @param {Wanted} wanted
   * @param {number} at what stands from there on in the thread is another version
   */
  constructor(chat, wanted, at) {
    super();
    const { client, config, strings, actions, thread } = chat;
    const { id = newId(), input, parent, options } = wanted;
    const conversation = chat.conversation ?? "new";
    this.thread = thread;
    this.wanted = { ...wanted, id };
    this.run = client.start(config.chain, input, { id, conversation, parent, options });
    /** @type {import("./thread.js").View[]} what it stands in place of */
    this.before = thread.cut(at);
    const siblings = [...(this.before[0]?.siblingIds ?? []), null];
    this.question = input ? new QuestionView({ parent, input, siblings }, config, strings, actions) : null;
    this.reply = new ReplyView({ parent, siblings: input ? [null] : siblings }, this.run, strings, actions);
    thread.add(...this.views);
    this.run.addEventListener("accepted", (event) => this.#accepted(/** @type {CustomEvent} */ (event).detail));
    this.run.addEventListener("refused", (event) => this.#end("refused", /** @type {CustomEvent} */ (event).detail));
    this.run.addEventListener("change", () => this.#settle(), { once: true });
  }

  /** What a conversation that begins with it may be called. */
  get title() {
    const [line] = (this.question?.text ?? "").trim().split("\n");
    return [...line].slice(0, TITLE).join("");
  }

  get views() {
    return this.question ? [this.question, this.reply] : [this.reply];
  }

  /** The message that the question comes after. */
  get #precedent() {
    const { views } = this.thread;
    return views[views.indexOf(this.views[0]) - 1]?.id ?? null;
  }

  /** @param {{run: string, conversation: string | null}} detail */
  #accepted({ run, conversation }) {
    this.#removeTwin(run);
    this.#tell("accepted", { conversation });
  }

  /** After a reload the server may have had it already, and it stands in the thread. */
  /** @param {string} run */
  #removeTwin(run) {
    const { views } = this.thread;
    const at = views.findIndex((view) => view instanceof ReplyView && view !== this.reply && view.run.id === run);
    if (at < 0) return;
    for (const view of views.slice(this.question ? at - 1 : at, at + 1)) this.thread.remove(view);
  }

  /** The first snapshot says which messages question and answer have become. */
  #settle() {
    if (this.run.fold.seq === null) return this.#end("withdrawn", null);
    const { message, parent } = this.run.state;
    if (parent) this.question?.settle(parent, this.#precedent);
    if (message) this.reply.settle(message, parent);
    this.#tell("settled", null);
  }

  /** @param {string} type @param {unknown} detail */
  #end(type, detail) {
    const isShown = this.thread.views.includes(this.reply);
    for (const view of this.views) this.thread.remove(view);
    if (isShown) this.thread.add(...this.before);
    this.#tell(type, detail);
  }

  /** @param {string} type @param {unknown} detail */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
