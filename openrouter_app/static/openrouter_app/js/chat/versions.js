/**
 * What makes and shows versions of a message: an edit is another question in the same place, another
 * answer stands beside the first one. Nothing is overwritten, and while an answer is being written
 * nothing is moved.
 */

import { AccountOffer } from "../account-offer.js";

/** @typedef {import("./question-view.js").QuestionView} QuestionView */

export class Versions {
  /** @param {import("./chat.js").Chat} chat */
  constructor(chat) {
    this.chat = chat;
    this.account = new AccountOffer(chat.root, chat.config, chat.strings);
  }

  /** @param {QuestionView} view @param {Record<string, string>} input */
  edit(view, input) {
    const { chat } = this;
    if (chat.busy) return view.refuse(input, chat.strings.text("wait"));
    const at = chat.thread.views.indexOf(view);
    chat.outbox.start({ input, parent: view.parent ?? null, options: chat.composer.options }, at);
  }

  /** @param {import("./reply-view.js").ReplyView} view @param {Record<string, unknown>} [options] */
  again(view, options) {
    const { views } = this.chat.thread;
    const at = views.indexOf(view);
    const question = views[at - 1];
    if (this.#mustWait() || !question?.id) return;
    const chosen = this.chat.composer.options;
    this.chat.outbox.start({ parent: question.id, options: options ? { ...chosen, ...options } : chosen }, at);
  }

  /** @param {string} id of a message */
  async showVersion(id) {
    const { chat } = this;
    const { conversation } = chat;
    if (this.#mustWait() || !conversation) return;
    const data = await chat.reading.open(conversation, id);
    if (!data || chat.busy || conversation !== chat.conversation) return;
    const label = document.activeElement?.getAttribute("aria-label");
    chat.show(data);
    this.#keepFocus(id, label);
    chat.api.moveHead(conversation, id).catch((error) => chat.fail(error));
  }

  #mustWait() {
    const { busy, composer, strings } = this.chat;
    if (busy) composer.refuse(strings.text("wait"));
    else composer.forgive();
    return busy;
  }

  /** The version that went had the focus on its switch: the new one's takes it. */
  /** @param {string} id @param {string | null | undefined} label of the button that was pressed */
  #keepFocus(id, label) {
    if (document.activeElement !== document.body) return;
    const view = this.chat.thread.views.find((known) => known.id === id);
    const buttons = [...(view?.siblings.element.querySelectorAll("button") ?? [])];
    buttons.find((button) => button.getAttribute("aria-label") === label)?.focus({ preventScroll: true });
  }
}
