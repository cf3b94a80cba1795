/**
 * What the visitor says: said at once, held while an answer is being written, said again where a
 * reload came between, and given back where it was refused.
 *
 * @typedef {import("./asking.js").Wanted} Wanted
 */

import { complaint } from "../problems.js";
import { Asking } from "./asking.js";
import { QuestionView } from "./question-view.js";

const AGAIN = 1_000; // milliseconds, before what was refused is said again

export class Outbox {
  /** @type {Asking | null} a start that the server has not answered with a snapshot */
  asking = null;

  /** @param {import("./chat.js").Chat} chat */
  constructor(chat) {
    this.chat = chat;
  }

  /** Another conversation is open: what was asked in the one before is looked after there. */
  begin() {
    this.asking = null;
  }

  /** A start that this tab has asked for before a reload, and that nobody has answered. */
  resume() {
    const kept = this.chat.memory.read(this.#pendingKey);
    if (kept) this.start(kept);
    else this.releaseIfFine();
  }

  get #pendingKey() {
    return `pending:${this.chat.conversation ?? "new"}`;
  }

  /** @param {Event} event the composer's */
  send = (event) => {
    const wanted = /** @type {CustomEvent} */ (event).detail;
    const { busy, connection, composer, strings } = this.chat;
    if (connection.dead) {
      event.preventDefault();
      composer.refuse(strings.text(`banner.${connection.status}`));
    } else if (composer.held) {
      event.preventDefault();
      composer.refuse(strings.text("held.one"));
    } else if (busy) {
      composer.hold(wanted);
    } else {
      this.start(wanted);
    }
  };

  /** What waits goes now. */
  release = () => {
    const { busy, composer } = this.chat;
    const { held } = composer;
    if (!held || busy) return;
    composer.hold(null);
    this.start(held);
  };

  /** What waits goes by itself, unless it has been said that it does not. */
  releaseIfFine() {
    const { busy, composer, run, strings } = this.chat;
    if (!composer.held || composer.problem || busy) return;
    const isFine = !run || run.state.status === "done" || run.state.status === "stopped";
    if (isFine) this.release();
    else composer.hold(composer.held, strings.text("held.failed"));
  }

  /** @param {Wanted} wanted @param {number} [at] where in the thread */
  start(wanted, at = this.chat.thread.views.length) {
    const { chat } = this;
    const key = this.#pendingKey;
    const asking = new Asking(chat, wanted, at);
    /** @param {string} type @param {(detail: any) => void} react */
    const on = (type, react) => {
      asking.addEventListener(type, (event) => {
        if (type !== "settled") chat.memory.write(key, undefined);
        if (asking === this.asking) react(/** @type {CustomEvent} */ (event).detail);
      });
    };
    chat.memory.write(key, asking.wanted);
    this.asking = asking;
    chat.watch(asking.run);
    on("accepted", ({ conversation }) => chat.accepted(conversation, asking.title));
    on("settled", () => this.#settled());
    on("withdrawn", () => this.#withdrawn(wanted));
    on("refused", (error) => this.#refused(asking, error));
    chat.shell.showEmpty(false);
    chat.showBusy();
    chat.end.follow();
  }

  #settled() {
    this.asking = null;
    this.chat.news.settle();
  }

  /** @param {Wanted} wanted */
  #withdrawn(wanted) {
    if (wanted.input) this.chat.composer.restore(wanted.input);
    this.#backToBefore();
    this.chat.news.takeUp();
  }

  /** Nothing was started: what was written is kept, where it was written. */
  /** @param {Asking} asking @param {any} error */
  #refused({ wanted: { input, options }, before: [edited] }, error) {
    const { actions, composer, news, strings } = this.chat;
    const isElsewhere = error.code === "busy" && typeof error.run === "string";
    const message = complaint(error, strings);
    const offer = actions.account.of(error);
    if (input && isElsewhere && !edited) {
      composer.hold({ input, options });
    } else if (input && edited instanceof QuestionView) {
      edited.refuse(input, message);
      if (offer) composer.refuse(message, undefined, offer);
    } else {
      if (input) composer.restore(input);
      composer.refuse(message, error.details?.variables, offer);
    }
    this.#backToBefore();
    if (isElsewhere) this.#waitForTheOther();
    else news.takeUp();
  }

  #backToBefore() {
    const { chat } = this;
    chat.run = chat.newestRun;
    this.asking = null;
    chat.shell.showEmpty(chat.thread.views.length === 0);
    chat.showBusy();
  }

  async #waitForTheOther() {
    await this.chat.news.readAgain();
    if (!this.chat.busy) setTimeout(this.release, AGAIN); // what was in the way has ended meanwhile
  }
}
