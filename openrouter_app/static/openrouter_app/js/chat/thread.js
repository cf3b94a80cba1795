/**
 * The messages from the first to the newest, each with a view of its own. Shown anew, a message
 * that stands there already keeps its element, so nothing that is being written is made twice.
 *
 * @typedef {import("./question-view.js").QuestionView | import("./reply-view.js").ReplyView} View
 *
 * @typedef {object} Actions what the buttons at a message do
 * @property {(view: import("./question-view.js").QuestionView, input: Record<string, string>) => void} edit
 * @property {(view: import("./reply-view.js").ReplyView, options?: Record<string, unknown>) => void} again
 * @property {(message: string) => void} showVersion
 * @property {import("../account-offer.js").AccountOffer} [account] how an account of one's own is offered
 */

export class Thread {
  /** @type {View[]} */
  views = [];

  /** @param {HTMLElement} host */
  constructor(host) {
    this.host = host;
  }

  /** @returns {View | undefined} */
  get last() {
    return this.views.at(-1);
  }

  /**
   * @param {any[]} messages
   * @param {(message: any) => View} make
   */
  show(messages, make) {
    let same = 0;
    while (same < messages.length && isView(this.views[same], messages[same])) same += 1;
    this.cut(same);
    messages.slice(0, same).forEach((message, at) => this.views[at].update(message));
    this.add(...messages.slice(same).map(make));
  }

  /** @param {...View} views */
  add(...views) {
    this.views.push(...views);
    this.host.append(...views.map((view) => view.element));
    for (const view of views) view.connect();
  }

  /** @param {number} at @returns {View[]} those that went, from there on */
  cut(at) {
    const gone = this.views.splice(at);
    for (const view of gone) {
      view.disconnect();
      view.element.remove();
    }
    return gone;
  }

  /** @param {View} view */
  remove(view) {
    const at = this.views.indexOf(view);
    if (at < 0) return;
    this.views.splice(at, 1);
    view.disconnect();
    view.element.remove();
  }
}

/** @param {View | undefined} view @param {any} message */
const isView = (view, message) => view !== undefined && view.id === message.message && view.role === message.role;
