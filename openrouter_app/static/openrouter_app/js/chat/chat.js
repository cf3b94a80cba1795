/**
 * A chat with a chain: the thread, the composer, the list of conversations, one conversation open
 * at a time, at most one answer of it being written.
 *
 * What the server says of the conversation is the truth. What this page has just asked stands in
 * the thread at once, and gets its name when the server has accepted it; whatever else changes
 * the conversation, in this tab or another, is fetched.
 */

import { Client, Run } from "../client.js";
import { Connection } from "../connection.js";
import { ConnectionStatus } from "../connection-status.js";
import { Memory } from "../memory.js";
import { complaint } from "../problems.js";
import { Api } from "./api.js";
import { Composer } from "./composer.js";
import { ConversationList } from "./conversation-list.js";
import { EndKeeper } from "./end-keeper.js";
import { News } from "./news.js";
import { Outbox } from "./outbox.js";
import { QuestionView } from "./question-view.js";
import { Reading } from "./reading.js";
import { ReplyView } from "./reply-view.js";
import { Shell } from "./shell.js";
import { Thread } from "./thread.js";
import { Versions } from "./versions.js";

export class Chat {
  /** @type {string | null} null: a new one, which has no message yet */
  conversation = null;
  /** @type {Run | null} the newest run of this conversation */
  run = null;

  /**
   * @param {HTMLElement} root the element with the content of `_chat.html`
   * @param {any} config what the server says of chain and conversation
   * @param {import("../strings.js").Strings} strings
   * @param {{routes: boolean, name: string}} options routes: the address follows the conversation
   */
  constructor(root, config, strings, { routes, name }) {
    this.root = root;
    this.config = config;
    this.strings = strings;
    // Whoever uses this tab next finds nothing of what was written before him.
    this.memory = new Memory(`openrouter-chat:${config.owner ?? ""}:${config.chain}:${name}:`);
    this.connection = new Connection(config.socket, { html: true });
    this.client = new Client(this.connection);
    this.connectionStatus = new ConnectionStatus(this.connection, root, strings);
    this.shell = new Shell(root, config, strings, routes);
    this.api = new Api(config.urls, () => this.shell.token);
    this.reading = new Reading(this.api, (error) => this.fail(error));
    this.thread = new Thread(this.shell.target("messages"));
    this.composer = new Composer(this.shell.target("form"), config, this.memory, strings);
    this.end = new EndKeeper(this.shell.target("viewport"), this.thread.host, this.shell.target("jump"));
    const list = this.shell.target("list");
    this.list = list ? new ConversationList(list, this.api, this.composer, config.chain, strings) : null;
    this.actions = new Versions(this);
    this.outbox = new Outbox(this);
    this.news = new News(this);
  }

  connect() {
    this.#listen("addEventListener");
    this.shell.connect();
    this.composer.connect();
    this.list?.connect();
    this.end.connect();
    this.connectionStatus.connect();
    this.connection.open();
    if (this.thread.last) return this.showBusy(); // back from the browser's page cache
    const { conversation, data } = this.config;
    const kept = conversation ?? (this.shell.routes ? null : (this.memory.read("conversation") ?? null));
    if (data && data.conversation === kept) this.#begin(kept, data);
    else this.open(kept, { replace: true });
  }

  /** A hidden page lets its socket go, or the browser could not keep the page for "back". */
  disconnect() {
    this.#listen("removeEventListener");
    this.connection.close();
    this.connectionStatus.disconnect();
    this.end.disconnect();
    this.list?.disconnect();
    this.composer.disconnect();
    this.shell.disconnect();
  }

  /** @param {"addEventListener" | "removeEventListener"} verb */
  #listen(verb) {
    this.connection[verb]("status", this.#connected);
    this.client[verb]("conversation", this.#heard);
    this.client[verb]("error", this.#complain);
    this.composer[verb]("send", this.outbox.send);
    this.composer[verb]("stop", this.#stop);
    this.composer[verb]("release", this.outbox.release);
    this.composer[verb]("held", this.#held);
    this.shell[verb]("stop", this.#stop);
    this.shell[verb]("route", this.#route);
    this.shell[verb]("suggest", this.#suggest);
    this.list?.[verb]("open", this.#chosen);
    this.list?.[verb]("titled", this.#titled);
    this.list?.[verb]("deleted", this.#deleted);
    this.list?.[verb]("problem", this.#complain);
    this.root[verb]("announce", this.#announce);
  }

  get busy() {
    return this.run !== null && !this.run.final;
  }

  /**
   * Show a conversation.
   *
   * @param {string | null} conversation null: a new one
   * @param {{replace?: boolean}} [options] replace: what the address says now is gone
   */
  async open(conversation, { replace = false } = {}) {
    if (conversation === null) return this.#begin(null, null);
    const data = await this.reading.open(conversation);
    if (data) this.#begin(conversation, data);
    else if (replace && !this.thread.last) this.#begin(null, null);
  }

  /** @param {string | null} conversation @param {any} data */
  #begin(conversation, data) {
    if (this.conversation) this.client.unfollowConversation(this.conversation);
    if (this.run && this.busy) this.client.unfollow(this.run);
    this.reading.forget();
    this.run = null;
    this.outbox.begin();
    this.news.begin(conversation === null);
    this.thread.cut(0);
    this.conversation = conversation;
    this.composer.open(conversation);
    if (data) this.show(data);
    this.named(data?.title ?? "");
    if (conversation) this.client.followConversation(conversation);
    this.outbox.resume();
    this.showBusy();
    this.list?.refresh(0);
    this.end.follow();
  }

  /** The conversation has a name, or a new one. */
  /** @param {string} title */
  named(title) {
    this.memory.write("conversation", this.conversation ?? undefined);
    this.shell.showConversation(this.conversation, title);
    this.list?.mark(this.conversation);
  }

  /** @param {string | null} conversation @param {string} title until the server has named it */
  accepted(conversation, title) {
    if (conversation && conversation !== this.conversation) {
      this.conversation = conversation;
      this.composer.rename(conversation);
      this.named(title);
      this.client.followConversation(conversation);
    }
    this.list?.refresh();
  }

  /** @param {any} data */
  show(data) {
    this.news.shown(data);
    this.thread.show(data.messages, (message) => this.#view(message, data.run));
    const run = this.newestRun;
    if (run && run !== this.run) this.watch(run);
    this.shell.showEmpty(this.thread.views.length === 0);
    this.showBusy();
  }

  /** Of the answer at the end of the thread. */
  get newestRun() {
    const { last } = this.thread;
    return last instanceof ReplyView ? last.run : null;
  }

  /** @param {any} message @param {string | null} unfinished a run */
  #view(message, unfinished) {
    const { client, config, strings, actions } = this;
    if (message.role === "user") return new QuestionView(message, config, strings, actions);
    const run = message.run === unfinished ? client.follow(message.run) : new Run(client, null);
    run.know(message.run, message.state);
    return new ReplyView(message, run, strings, actions);
  }

  // What comes from the server

  #connected = () => {
    if (this.connection.status !== "ready" && this.conversation) this.news.miss();
  };

  /** @param {Event} event */
  #heard = (event) => {
    const news = /** @type {CustomEvent} */ (event).detail;
    if (news.conversation === this.conversation) this.news.hear(news);
  };

  /** @param {Run} run */
  watch(run) {
    this.run = run;
    if (run.final) return;
    run.addEventListener("change", (event) => {
      const places = /** @type {CustomEvent} */ (event).detail;
      if (run === this.run && (places.has("") || places.has("/status"))) this.#progressed(run);
    });
    run.addEventListener("stopping", () => this.showBusy());
    run.addEventListener("error", this.#complain);
  }

  /** @param {Run} run */
  #progressed(run) {
    this.showBusy();
    if (!run.final) return;
    this.composer.forgive(); // "wait for its end"
    this.list?.refresh();
    this.outbox.releaseIfFine();
  }

  #held = () => this.list?.refresh();

  // What the visitor does

  #stop = () => {
    if (this.busy) this.run?.stop();
  };

  /** @param {Event} event */
  #suggest = (event) => this.composer.suggest(/** @type {CustomEvent} */ (event).detail);

  /** @param {Event} event */
  #chosen = (event) => {
    this.shell.closeList();
    this.open(/** @type {CustomEvent} */ (event).detail.conversation);
  };

  /** @param {Event} event */
  #route = (event) => {
    const conversation = /** @type {CustomEvent} */ (event).detail;
    if (conversation !== this.conversation) this.open(conversation);
  };

  /** @param {Event} event */
  #titled = (event) => {
    const { conversation, title } = /** @type {CustomEvent} */ (event).detail;
    if (conversation === this.conversation) this.named(title);
  };

  /** @param {Event} event */
  #deleted = (event) => {
    if (/** @type {CustomEvent} */ (event).detail.conversation === this.conversation) this.#begin(null, null);
  };

  // What is said of it

  /** @param {Event} event */
  #complain = (event) => {
    const error = /** @type {CustomEvent} */ (event).detail;
    if (error.call) return; // stands in its card
    if (error.status !== undefined) return this.fail(error);
    if (error.conversation && error.conversation === this.conversation) {
      this.#begin(null, null);
      return this.composer.refuse(this.strings.text("conversation.gone"));
    }
    this.composer.refuse(complaint(error, this.strings));
  };

  /** A request over HTTP went wrong. */
  /** @param {import("./api.js").ApiError} error */
  fail({ status, message }) {
    const own = status === 404 ? "conversation.gone" : status === 0 ? "offline" : "error";
    this.composer.refuse(message || this.strings.text(own));
  }

  /** @param {Event} event */
  #announce = (event) => this.shell.announce(/** @type {CustomEvent} */ (event).detail);

  showBusy() {
    const { busy, run } = this;
    this.composer.showBusy(busy, Boolean(run?.stopping));
    this.shell.showStatus(busy, run?.phase ?? "idle");
  }
}
