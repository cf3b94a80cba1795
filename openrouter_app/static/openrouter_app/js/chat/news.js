/**
 * What the server tells of the open conversation, held against what stands in the thread: where more
 * has been said than is there, the conversation is read again, and not while something was asked that
 * has no answer yet.
 *
 * @typedef {{head: string | null, run: string | null}} Told the newest message, the answer that is being written
 */

export class News {
  /** @type {Told | null} what was told while something was being asked */
  #unread = null;
  /** @type {string | null} the newest message that the server has told of */
  #head = null;
  /** Whether nothing can have been said in the conversation that this page has not heard of. */
  #isCurrent = false;
  /** Whether something may be missing above what was asked last, until it has been read. */
  #mustRead = false;

  /** @param {import("./chat.js").Chat} chat */
  constructor(chat) {
    this.chat = chat;
  }

  /** Another conversation is open. */
  /** @param {boolean} isNew whether nothing has been said in it */
  begin(isNew) {
    this.#unread = null;
    this.#isCurrent = isNew;
    this.#mustRead = false;
  }

  /** What is shown now. */
  /** @param {any} data */
  shown(data) {
    this.#head = data.head;
    this.#isCurrent &&= data.head === (data.messages.at(-1)?.message ?? null); // another version is shown
  }

  /** The connection is gone, and what is told meanwhile. */
  miss() {
    this.#isCurrent = false;
  }

  /** @param {Told} told */
  hear(told) {
    const { asking } = this.chat.outbox;
    if (!asking) return this.#catchUp(told);
    this.#unread = told;
    if (told.head !== this.#head && told.run !== asking.run.id) this.#isCurrent = false;
  }

  /** The head is ours now, and says nothing of what may have been said between it and what was shown before. */
  settle() {
    this.#mustRead ||= !this.#isCurrent;
    if (!this.#mustRead) return this.takeUp();
    this.#unread = null;
    this.#fetch();
  }

  /** Nothing is being asked any more. */
  takeUp() {
    const told = this.#unread;
    this.#unread = null;
    if (told) this.#catchUp(told);
  }

  /** What stands in the way of what was asked, in another tab perhaps, is shown. */
  async readAgain() {
    this.#unread = null;
    const data = await this.#update();
    if (data) this.chat.show(data);
  }

  /** @param {Told} told */
  async #catchUp(told) {
    const { chat } = this;
    const { head, run } = told;
    chat.list?.refresh();
    const isThere = head === this.#head || head === (chat.thread.last?.id ?? null);
    if (isThere && !this.#mustRead && (!run || run === chat.run?.id)) {
      this.#head = head;
      this.#isCurrent = true;
      return;
    }
    this.#isCurrent = false;
    if (!(await this.#fetch()) && chat.outbox.asking) this.#unread ??= told; // when it has been answered
  }

  /** What is there now; whatever else comes while it is fetched is told of again. */
  async #fetch() {
    const data = await this.#update();
    if (!data) return false;
    this.#isCurrent = true;
    this.#mustRead = false;
    this.chat.show(data);
    this.chat.named(data.title);
    return true;
  }

  /** What has been asked meanwhile is not in it. */
  async #update() {
    const { conversation, reading, outbox } = this.chat;
    return conversation && reading.update(conversation, () => outbox.asking === null);
  }
}
