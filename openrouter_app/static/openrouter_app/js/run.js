/** One run: what this page knows of it, and what can be asked of it. */

import { RunState } from "./state.js";

/**
 * A run as this page knows it.
 *
 * Events: `change` (detail: the set of changed places, see state.js), `accepted` {run}, `stopping`,
 * `refused` {code, message, details?} (nothing was started), `error` {code, message}.
 */
export class Run extends EventTarget {
  /** @type {string | null} the server's name for it, once accepted */
  id = null;
  fold = new RunState();
  sent = false;
  stopping = false;
  awaitsSnapshot = false;
  /** @type {Map<string, object>} decisions that the server has not confirmed, by their call */
  decisions = new Map();

  /** @param {import("./client.js").Client} client @param {any} request the start that asked for it, or null */
  constructor(client, request) {
    super();
    this.client = client;
    this.request = request;
  }

  /** What is known of it from elsewhere, until the server begins to tell. */
  /** @param {string} id @param {any} state */
  know(id, state) {
    this.id = id;
    if (this.fold.seq === null && state) this.fold.replace({ seq: -1, state });
  }

  get state() {
    return this.fold.state;
  }

  /** Whether it has ended. */
  get final() {
    return this.fold.final;
  }

  /** Its status, or what is being done about it: `sending` until the server has it, `stopping`. */
  get phase() {
    if (this.final) return this.state.status;
    if (this.stopping) return "stopping";
    return this.id ? this.state.status : "sending";
  }

  /** End it, wherever it runs and whoever follows it. */
  stop() {
    if (this.final || this.stopping) return;
    this.stopping = true;
    this.tell("stopping", null);
    this.client.stop(this);
  }

  /**
   * Allow a tool call that waits, or do not; the model is told the reason.
   *
   * @param {string} call
   * @param {boolean} approve
   * @param {string} [reason]
   */
  decide(call, approve, reason) {
    this.client.decide(this, call, approve, reason);
  }

  /** Decisions are said once more only as long as their call waits. */
  forgetDecided() {
    if (!this.decisions.size) return;
    for (const part of this.state.parts) {
      if (part.type === "call" && part.status !== "waiting") this.decisions.delete(part.call);
    }
  }

  /** @param {Set<string>} changes */
  changed(changes) {
    if (changes.size) this.tell("change", changes);
  }

  /** @param {string} type @param {unknown} detail */
  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
