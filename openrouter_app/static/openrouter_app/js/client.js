/**
 * Runs over a connection: start, follow and stop them, and know their state.
 *
 *     import { connect } from "./client.js";
 *
 *     const client = connect("/ws/openrouter/");
 *     const run = client.start("joke", { foo: "bears" });
 *     run.addEventListener("change", () => console.log(run.state.status, run.state.parts));
 *
 * The promise of this file: whatever happens to the socket, a start is said again, with the same
 * id, until the server has answered it (the server makes one run of it); an accepted run is
 * followed until its last event, a conversation until nobody wants it; a stop is said until the
 * run has ended, a decision until the call waits no longer.
 *
 * @typedef {object} Details what a start may say beside its input
 * @property {string} [id] the same id never makes a second run
 * @property {string} [conversation] a conversation's id, or "new"
 * @property {string | null} [parent] the message it comes after; absent: the conversation's newest
 * @property {Record<string, unknown>} [options] of those that the chain allows
 */

import { Connection } from "./connection.js";
import { Run } from "./run.js";

export { Run };

const TOO_BIG = 1009; // the close code
const UNREADABLE = new Set(["bad_frame", "too_large"]);
const GONE = new Set(["not_found", "forbidden"]);

/**
 * A client over a connection of its own, opened.
 *
 * @param {string} path where the socket is
 * @param {{html?: boolean}} [options] as of `Connection`
 */
export function connect(path, options) {
  const connection = new Connection(path, options);
  const client = new Client(connection);
  connection.open();
  return client;
}

/** A name for a start. `crypto.randomUUID` is missing on pages that come over plain http. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Events: `conversation` {conversation, head, run}: a followed conversation as it is now, its
 * newest message and unfinished run or null; `error` {code, message, ...} for what the server says
 * of no run in particular (of a conversation: with its id as `conversation`).
 */
export class Client extends EventTarget {
  /** What is done with each frame; others are not for us. */
  /** @type {Map<string, (client: Client, frame: any) => void>} */
  static #FRAMES = new Map([
    ["run.accepted", (client, frame) => client.#accept(frame)],
    ["run.snapshot", (client, frame) => client.#replace(frame)],
    ["run.events", (client, frame) => client.#advance(frame)],
    ["conversation", (client, frame) => client.#converse(frame)],
    ["error", (client, frame) => client.#fail(frame)],
  ]);

  /** @type {Map<string, Run>} by the id of their start: not answered yet */
  #starting = new Map();
  /** @type {Map<string, Run>} by the id of the run: not ended yet */
  #following = new Map();
  /** @type {Set<string>} conversations */
  #conversations = new Set();

  /** @param {Connection} connection */
  constructor(connection) {
    super();
    this.connection = connection;
    connection.addEventListener("ready", (event) => this.#resume(/** @type {CustomEvent} */ (event).detail));
    connection.addEventListener("frame", (event) => {
      const frame = /** @type {CustomEvent} */ (event).detail;
      Client.#FRAMES.get(frame.type)?.(this, frame);
    });
  }

  /**
   * Start a run. It happens once, however often this is called with the same id.
   *
   * @param {string} chain
   * @param {Record<string, string>} [input] none where an answer is asked for once more
   * @param {string | Details} [details] a text is the id
   */
  start(chain, input, details = {}) {
    const { id = newId(), ...more } = typeof details === "string" ? { id: details } : details;
    const run = new Run(this, { type: "run.start", id, chain, input, ...more });
    this.#starting.set(id, run);
    this.#sendStart(run);
    return run;
  }

  /**
   * Follow a run that was started before.
   *
   * @param {string} id
   */
  follow(id) {
    const known = this.#following.get(id);
    if (known) return known;
    const run = new Run(this, null);
    run.id = id;
    this.#following.set(id, run);
    this.#sendFollow(run);
    return run;
  }

  /** @param {Run} run which goes on, unseen by this page */
  unfollow(run) {
    if (run.id && this.#following.delete(run.id)) this.connection.send({ type: "run.unfollow", run: run.id });
  }

  /**
   * Follow a conversation and its unfinished run, whoever starts one: in this page or another.
   *
   * @param {string} id
   */
  followConversation(id) {
    this.#conversations.add(id);
    this.connection.send({ type: "run.follow", conversation: id });
  }

  /** @param {string} id */
  unfollowConversation(id) {
    if (this.#conversations.delete(id)) this.connection.send({ type: "run.unfollow", conversation: id });
  }

  /**
   * Allow a tool call that waits, or do not.
   *
   * @param {Run} run
   * @param {string} call
   * @param {boolean} approve
   * @param {string} [reason] the model is told
   */
  decide(run, call, approve, reason) {
    const decision = { type: "tool.decide", run: run.id, call, approve, reason: reason || undefined };
    run.decisions.set(call, decision);
    this.connection.send(decision);
  }

  /** @param {Run} run what `Run.stop` calls */
  stop(run) {
    if (run.id) {
      this.connection.send({ type: "run.stop", run: run.id });
    } else if (!run.sent && this.#starting.delete(run.request.id)) {
      run.changed(run.fold.end("stopped")); // the server never heard of it
    }
  }

  /** @param {{closeCode: number | null}} detail */
  #resume({ closeCode }) {
    for (const run of this.#starting.values()) {
      // Said once more, what broke the last socket would break this one too.
      if (closeCode === TOO_BIG && run.sent) this.#refuse(run, { code: "too_large", message: "" });
      else this.#sendStart(run);
    }
    for (const run of this.#following.values()) {
      this.#sendFollow(run);
      for (const decision of run.decisions.values()) this.connection.send(decision);
      if (run.stopping) this.stop(run);
    }
    for (const conversation of this.#conversations) {
      this.connection.send({ type: "run.follow", conversation });
    }
  }

  /** @param {Run} run */
  #sendStart(run) {
    const limit = this.connection.hello?.max_frame ?? Infinity;
    if (new TextEncoder().encode(JSON.stringify(run.request)).length > limit) {
      // After this turn, so that whoever called `start` can listen first.
      queueMicrotask(() => this.#refuse(run, { code: "too_large", message: "" }));
    } else if (this.connection.send(run.request)) {
      run.sent = true;
    }
  }

  /** @param {Run} run */
  #sendFollow(run) {
    run.awaitsSnapshot = this.connection.send({ type: "run.follow", run: run.id });
  }

  /** @param {Run} run @param {object} error */
  #refuse(run, error) {
    this.#starting.delete(run.request.id);
    run.tell("refused", error);
  }

  /** @param {any} frame */
  #accept({ id, run: runId, conversation = null }) {
    const run = this.#starting.get(id);
    if (!run || typeof runId !== "string") return;
    this.#starting.delete(id);
    this.#following.set(runId, run);
    run.id = runId;
    run.awaitsSnapshot = true;
    run.tell("accepted", { run: runId, conversation });
    if (run.stopping) this.stop(run);
  }

  /** Its unfinished run is followed with it: the snapshot comes unasked. */
  /** @param {any} frame */
  #converse(frame) {
    if (!this.#conversations.has(frame.conversation)) return;
    if (typeof frame.run === "string" && !this.#following.has(frame.run)) this.#expect(frame.run);
    this.dispatchEvent(new CustomEvent("conversation", { detail: frame }));
  }

  /** @param {string} id a run of which the server begins to tell */
  #expect(id) {
    const run = new Run(this, null);
    run.id = id;
    run.awaitsSnapshot = true;
    this.#following.set(id, run);
    return run;
  }

  /** @param {any} frame */
  #replace(frame) {
    const isOurs = this.#conversations.has(frame.state?.conversation);
    const run = this.#following.get(frame.run) ?? (isOurs ? this.#expect(frame.run) : undefined);
    if (!run) return;
    run.awaitsSnapshot = false;
    this.#changed(run, run.fold.replace(frame));
  }

  /** @param {any} frame */
  #advance(frame) {
    const run = this.#following.get(frame.run);
    if (!run || run.awaitsSnapshot) return;
    const changes = run.fold.advance(frame);
    if (changes) this.#changed(run, changes);
    else this.#sendFollow(run);
  }

  /** @param {any} error */
  #fail(error) {
    const followed = this.#following.get(error.run);
    const starting = this.#starting.get(error.id) ?? this.#unreadable(error);
    followed?.decisions.delete(error.call);
    if (starting) this.#refuse(starting, error);
    else if (followed && GONE.has(error.code)) this.#lose(followed, error);
    else (followed ?? this).dispatchEvent(new CustomEvent("error", { detail: error }));
    if (GONE.has(error.code)) this.#conversations.delete(error.conversation);
  }

  /** The start that the server could not read: its answer can then not name it. */
  /** @param {any} error @returns {Run | undefined} */
  #unreadable(error) {
    if (error.id !== undefined || error.run !== undefined || !UNREADABLE.has(error.code)) return undefined;
    return [...this.#starting.values()].find((run) => run.sent);
  }

  /** The run is not there any more, or not for us: what came of it stays, and that is all. */
  /** @param {Run} run @param {any} error */
  #lose(run, error) {
    const lost = { code: error.code, message: error.message, retryable: error.code === "not_found" };
    this.#changed(run, run.fold.end("interrupted", lost));
  }

  /** @param {Run} run @param {Set<string>} changes */
  #changed(run, changes) {
    if (run.final) this.#following.delete(/** @type {string} */ (run.id));
    run.forgetDecided();
    run.changed(changes);
  }
}
