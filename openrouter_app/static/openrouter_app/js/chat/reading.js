/**
 * Conversations, read from the server. Answers to an older question come too late; what somebody
 * wants to see goes before news of what he sees.
 */

export class Reading {
  #wanted = 0;
  #updated = 0;

  /**
   * @param {import("./api.js").Api} api
   * @param {(error: any) => void} fail
   */
  constructor(api, fail) {
    this.api = api;
    this.fail = fail;
  }

  /** What is on its way is not wanted any more. */
  forget() {
    this.#wanted += 1;
  }

  /**
   * What somebody wants to see.
   *
   * @param {string} conversation
   * @param {string} [message]
   * @returns {Promise<any>} null where it went wrong, or comes too late
   */
  async open(conversation, message) {
    const wanted = (this.#wanted += 1);
    return this.#load(conversation, message, () => wanted === this.#wanted);
  }

  /**
   * What he sees, as it is now.
   *
   * @param {string} conversation
   * @param {() => boolean} isFit whether the page can take it when it comes
   * @returns {Promise<any>} null as above
   */
  async update(conversation, isFit) {
    const updated = (this.#updated += 1);
    const wanted = this.#wanted;
    const isNew = () => updated === this.#updated && wanted === this.#wanted && isFit();
    return this.#load(conversation, undefined, isNew);
  }

  /** @param {string} conversation @param {string | undefined} message @param {() => boolean} isNew */
  async #load(conversation, message, isNew) {
    try {
      const data = await this.api.conversation(conversation, message);
      return isNew() ? data : null;
    } catch (error) {
      if (isNew()) this.fail(error);
      return null;
    }
  }
}
