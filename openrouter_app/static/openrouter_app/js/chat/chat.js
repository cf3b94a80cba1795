/**
 * A chat with a chain: the thread, the composer, the list of conversations, one conversation open
 * at a time, at most one answer of it being written.
 *
 * What the server says of the conversation is the truth. What this page has just asked stands in
 * the thread at once, and gets its name when the server has accepted it; whatever else changes
 * the conversation, in this tab or another, is fetched.
 */

import { Client, Run, newId } from "../client.js";
import { Connection } from "../connection.js";
import { ConnectionStatus } from "../connection-status.js";
import { Memory } from "../memory.js";
import { complaint } from "../problems.js";
import { Api } from "./api.js";
import { Composer } from "./composer.js";
import { ConversationList } from "./conversation-list.js";
import { EndKeeper } from "./end-keeper.js";
import { QuestionView } from "./question-view.js";
import { ReplyView } from "./reply-view.js";
import { Shell } from "./shell.js";
import { Thread } from "./thread.js";

/** @typedef {{input?: Record<string, string>, options?: Record<string, string>, parent?: string | null, id?: string}} Wanted */

export class Chat {
  /** @type {string | null} null: a new one, which has no message yet */
  conversation = null;
  /** @type {Run | null} the newest run of this conversation */
  run = null;
  /** @type {Run | null} a start that the server has not answered with a snapshot */
  #pending = null;
  /** @type {any} what was said of the conversation meanwhile */
  #unread = null;
  #fetched = 0; // answers to an older question come too late

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
    this.memory = new Memory(`openrouter-chat:${config.chain}:${name}:`);
    this.connection = new Connection(config.socket, { html: true });
    this.client = new Client(this.connection);
    this.connectionStatus = new ConnectionStatus(this.connection, root, strings);
    this.shell = new Shell(root, config, strings, routes);
    this.api = new Api(config.urls, () => this.shell.token);
    this.thread = new Thread(this.shell.target("messages"));
    this.composer = new Composer(this.shell.target("form"), config, this.memory, strings);
    this.end = new EndKeeper(this.shell.target("viewport"), this.thread.host, this.shell.target("jump"));
    const list = this.shell.target("list");
    this.list = list ? new ConversationList(list, this.api, config.chain, strings) : null;
    this.actions = {
      edit: (/** @type {QuestionView} */ view, /** @type {Record<string, string>} */ input) => this.#edit(view, input),
      again: (/** @type {ReplyView} */ view) => this.#again(view),
      showVersion: (/** @type {string} */ id) => this.#showVersion(id),
    };
  }

  connect() {
    this.#listen("addEventListener");
    this.shell.connect();
    this.composer.connect();
    this.list?.connect();
    this.end.connect();
    this.connectionStatus.connect();
    this.connection.open();
    if (this.thread.last) return this.#showBusy(); // back from the browser's page cache
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
    this.client[verb]("conversation", this.#heard);
    this.client[verb]("error", this.#complain);
    this.composer[verb]("send", this.#send);
    this.composer[verb]("stop", this.#stop);
    this.composer[verb]("release", this.#release);
    this.shell[verb]("stop", this.#stop);
    this.shell[verb]("route", this.#route);
    this.shell[verb]("suggest", this.#suggest);
    this.list?.[verb]("open", this.#chosen);
    this.list?.[verb]("renamed", this.#renamed);
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
    const data = await this.#fetch(conversation);
    if (data) this.#begin(conversation, data);
    else if (replace && !this.thread.last) this.#begin(null, null);
  }

  /** @param {string | null} conversation @param {any} data */
  #begin(conversation, data) {
    if (this.conversation) this.client.unfollowConversation(this.conversation);
    if (this.run && this.busy) this.client.unfollow(this.run);
    this.#fetched += 1;
    this.#pending = this.#unread = this.run = null;
    this.thread.cut(0);
    this.conversation = conversation;
    this.composer.open(conversation);
    if (data) this.#show(data);
    this.#named(data?.title ?? "");
    if (conversation) this.client.followConversation(conversation);
    this.#resume();
    this.#showBusy();
    this.list?.refresh(0);
    this.end.follow();
  }

  /** A start that this tab has asked for before a reload, and that nobody has answered. */
  #resume() {
    const kept = this.memory.read(this.#pendingKey);
    if (kept) this.#start(kept, this.thread.views.length);
    else if (this.composer.held && !this.busy) this.#release();
  }

  get #pendingKey() {
    return `pending:${this.conversation ?? "new"}`;
  }

  /** The conversation has a name, or a new one. */
  /** @param {string} title */
  #named(title) {
    this.memory.write("conversation", this.conversation ?? undefined);
    this.shell.showConversation(this.conversation, title);
    this.list?.mark(this.conversation);
  }

  /** @param {any} data */
  #show(data) {
    this.thread.show(data.messages, (message) => this.#view(message, data.run));
    const last = this.thread.last;
    const run = last instanceof ReplyView ? last.run : null;
    if (run && run !== this.run) this.#watch(run);
    this.shell.showEmpty(this.thread.views.length === 0);
    this.#showBusy();
  }

  /** @param {any} message @param {string | null} unfinished a run */
  #view(message, unfinished) {
    if (message.role === "user") return new QuestionView(message, this.config, this.strings, this.actions);
    const run = message.run === unfinished ? this.client.follow(message.run) : new Run(this.client, null);
    run.id = message.run;
    if (run.fold.seq === null && message.state) run.fold.replace({ seq: -1, state: message.state });
    return new ReplyView(message, run, this.strings, this.actions);
  }

  /** @param {string} conversation @param {string} [message] @returns {Promise<any>} null where it went wrong */
  async #fetch(conversation, message) {
    const asked = (this.#fetched += 1);
    try {
      const data = await this.api.conversation(conversation, message);
      return asked === this.#fetched ? data : null;
    } catch (error) {
      if (asked === this.#fetched) this.#fail(/** @type {any} */ (error));
      return null;
    }
  }

  // What comes from the server

  /** @param {Event} event */
  #heard = (event) => {
    const news = /** @type {CustomEvent} */ (event).detail;
    if (news.conversation !== this.conversation) return;
    if (this.#pending) this.#unread = news;
    else this.#catchUp(news);
  };

  /** @param {{head: string | null, run: string | null}} news */
  async #catchUp({ head, run }) {
    this.list?.refresh();
    const isKnown = head === (this.thread.last?.id ?? null) && (!run || run === this.run?.id);
    if (isKnown || !this.conversation) return;
    const data = await this.#fetch(this.conversation);
    if (data) {
      this.#show(data);
      this.#named(data.title);
    }
  }

  /** @param {Run} run */
  #watch(run) {
    this.run = run;
    if (run.final) return;
    run.addEventListener("change", (event) => {
      const places = /** @type {CustomEvent} */ (event).detail;
      if (run === this.run && (places.has("") || places.has("/status"))) this.#progressed(run);
    });
    run.addEventListener("stopping", () => this.#showBusy());
    run.addEventListener("error", this.#complain);
  }

  /** @param {Run} run */
  #progressed(run) {
    this.#showBusy();
    if (!run.final) return;
    this.list?.refresh();
    if (!this.composer.held) return;
    const isFine = run.state.status === "done" || run.state.status === "stopped";
    if (isFine) this.#release();
    else this.composer.hold(this.composer.held, this.strings.text("held.failed"));
  }

  // What the visitor does

  /** @param {Event} event */
  #send = (event) => {
    const wanted = /** @type {CustomEvent} */ (event).detail;
    const { connection, composer, strings } = this;
    if (connection.dead) {
      event.preventDefault();
      composer.refuse(strings.text(`banner.${connection.status}`));
    } else if (composer.held) {
      event.preventDefault();
      composer.refuse(strings.text("held.one"));
    } else if (this.busy) {
      composer.hold(wanted);
    } else {
      this.#start(wanted, this.thread.views.length);
    }
  };

  #release = () => {
    const { held } = this.composer;
    if (!held || this.busy) return;
    this.composer.hold(null);
    this.#start(held, this.thread.views.length);
  };

  /** @param {QuestionView} view @param {Record<string, string>} input */
  #edit(view, input) {
    if (this.busy) return view.refuse(input, this.strings.text("wait"));
    this.#start({ input, parent: view.parent ?? null, options: this.#options }, this.thread.views.indexOf(view));
  }

  /** @param {ReplyView} view */
  #again(view) {
    const at = this.thread.views.indexOf(view);
    const question = this.thread.views[at - 1];
    if (this.busy) return this.composer.refuse(this.strings.text("wait"));
    if (!question?.id) return;
    this.composer.forgive();
    this.#start({ parent: question.id, options: this.#options }, at);
  }

  get #options() {
    const model = this.composer.model?.value;
    return model ? { model } : undefined;
  }

  /**
   * Ask, and show at once what was asked.
   *
   * @param {Wanted} wanted without input: another answer to the parent
   * @param {number} at what stands from there on in the thread is another version
   */
  #start(wanted, at) {
    const { id = newId(), input, parent, options } = wanted;
    this.memory.write(this.#pendingKey, { ...wanted, id });
    const conversation = this.conversation ?? "new";
    const run = this.client.start(this.config.chain, input, { id, conversation, parent, options });
    const before = this.thread.cut(at);
    const versions = [...(before[0]?.siblingIds ?? []), null];
    const made = [];
    if (input) made.push(new QuestionView({ parent, input, siblings: versions }, this.config, this.strings, this.actions));
    made.push(new ReplyView({ parent, siblings: input ? [null] : versions }, run, this.strings, this.actions));
    this.thread.add(...made);
    this.#pending = run;
    this.#watch(run);
    run.addEventListener("accepted", (event) => this.#accepted(run, made, /** @type {CustomEvent} */ (event).detail));
    run.addEventListener("refused", (event) => {
      this.#refused(run, wanted, { at, made, before }, /** @type {CustomEvent} */ (event).detail);
    });
    run.addEventListener("change", () => this.#settled(run, made), { once: true });
    this.shell.showEmpty(false);
    this.#showBusy();
    this.end.follow();
  }

  /** @param {Run} run @param {(QuestionView | ReplyView)[]} made @param {{run: string, conversation: string | null}} detail */
  #accepted(run, made, { run: id, conversation }) {
    if (run !== this.#pending) return;
    this.memory.write(this.#pendingKey, undefined);
    // After a reload the server may have had it already, and it stands in the thread.
    const twin = this.thread.views.findIndex((view) => view instanceof ReplyView && view.run !== run && view.run.id === id);
    const old = twin < 0 ? [] : this.thread.views.slice(made.length > 1 ? twin - 1 : twin, twin + 1);
    for (const view of old) this.thread.remove(view);
    if (conversation && conversation !== this.conversation) {
      this.conversation = conversation;
      this.composer.rename(conversation);
      this.#named("");
      this.client.followConversation(conversation);
    }
    this.list?.refresh();
  }

  /** The first snapshot says which messages question and answer have become. */
  /** @param {Run} run @param {(QuestionView | ReplyView)[]} made */
  #settled(run, made) {
    const { message, parent } = run.state;
    if (run.fold.seq === null || run !== this.#pending) return this.#withdrawn(run, made);
    const [question, reply] = made.length > 1 ? made : [null, made[0]];
    if (parent) question?.settle(parent, null);
    if (message) reply.settle(message, parent);
    this.#pending = null;
    const news = this.#unread;
    this.#unread = null;
    if (news) this.#catchUp(news);
  }

  /** It was stopped before the server had heard of it. */
  /** @param {Run} run @param {(QuestionView | ReplyView)[]} made */
  #withdrawn(run, made) {
    if (run !== this.#pending || !run.final) return;
    this.memory.write(this.#pendingKey, undefined);
    this.#pending = null;
    const [first] = made;
    for (const view of made) this.thread.remove(view);
    if (first instanceof QuestionView) this.composer.restore(first.input);
    this.#afterRefusal();
  }

  /**
   * Nothing was started: the thread is as before, and what was written is kept.
   *
   * @param {Run} run
   * @param {Wanted} wanted
   * @param {{at: number, made: (QuestionView | ReplyView)[], before: (QuestionView | ReplyView)[]}} change
   * @param {any} error
   */
  #refused(run, wanted, { made, before }, error) {
    if (run !== this.#pending) return;
    this.memory.write(this.#pendingKey, undefined);
    this.#pending = null;
    for (const view of made) this.thread.remove(view);
    this.thread.add(...before);
    const isElsewhere = error.code === "busy" && typeof error.run === "string";
    const message = complaint(error, this.strings);
    const [edited] = before;
    if (wanted.input && isElsewhere && !edited) this.composer.hold({ input: wanted.input, options: wanted.options });
    else if (wanted.input && edited instanceof QuestionView) edited.refuse(wanted.input, message);
    else {
      if (wanted.input) this.composer.restore(wanted.input);
      this.composer.refuse(message, error.details?.variables);
    }
    this.#afterRefusal(isElsewhere);
  }

  async #afterRefusal(isElsewhere = false) {
    const last = this.thread.last;
    this.run = last instanceof ReplyView ? last.run : null;
    this.#unread = null;
    this.shell.showEmpty(this.thread.views.length === 0);
    this.#showBusy();
    if (!isElsewhere || !this.conversation) return;
    const data = await this.#fetch(this.conversation);
    if (data) this.#show(data);
    if (!this.busy) this.#release(); // it has ended meanwhile
  }

  /** @param {string} id of a message */
  async #showVersion(id) {
    if (this.busy || !this.conversation) return this.composer.refuse(this.strings.text("wait"));
    const { conversation } = this;
    this.composer.forgive();
    const data = await this.#fetch(conversation, id);
    if (!data) return;
    const button = document.activeElement?.getAttribute("aria-label");
    this.#show(data);
    this.#keepFocus(id, button);
    this.api.moveHead(conversation, id).catch((error) => this.#fail(error));
  }

  /** The version that went had the focus on its switch: the new one's takes it. */
  /** @param {string} id @param {string | null | undefined} label of the button that was pressed */
  #keepFocus(id, label) {
    if (document.activeElement !== document.body) return;
    const view = this.thread.views.find((known) => known.id === id);
    const buttons = [...(view?.siblings.element.querySelectorAll("button") ?? [])];
    buttons.find((button) => button.getAttribute("aria-label") === label)?.focus({ preventScroll: true });
  }

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
  #renamed = (event) => {
    const { conversation, title } = /** @type {CustomEvent} */ (event).detail;
    if (conversation === this.conversation) this.#named(title);
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
    if (error.status !== undefined) return this.#fail(error);
    if (error.conversation && error.conversation === this.conversation) {
      this.#begin(null, null);
      return this.composer.refuse(this.strings.text("conversation.gone"));
    }
    this.composer.refuse(complaint(error, this.strings));
  };

  /** A request over HTTP went wrong. */
  /** @param {import("./api.js").ApiError} error */
  #fail({ status, message }) {
    const own = status === 404 ? "conversation.gone" : status === 0 ? "offline" : "error";
    this.composer.refuse(message || this.strings.text(own));
  }

  /** @param {Event} event */
  #announce = (event) => this.shell.announce(/** @type {CustomEvent} */ (event).detail);

  #showBusy() {
    const { busy, run } = this;
    const status = busy ? this.#busyStatus() : (run?.state.status ?? "idle");
    this.composer.showBusy(busy, Boolean(run?.stopping));
    this.shell.showStatus(busy, status);
  }

  #busyStatus() {
    if (this.run?.stopping) return "stopping";
    return this.run?.id ? this.run.state.status : "sending";
  }
}
