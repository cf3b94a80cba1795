/**
 * What a page knows of one run: the fold of its frames (protocol rule 1). No DOM and no socket.
 *
 * Every step answers with the places it changed, as JSON pointers into the state: "/status",
 * "/parts/2/text", "/parts/3/arguments/setup", and "" for everything. A view keeps them in a set
 * until it paints, reads the state there, and touches nothing else; so it costs what has
 * changed, never what there is.
 *
 * A newer server may say more than this file knows. What is unknown, or does not fit, changes
 * nothing; an unknown event that names a new part keeps that part's place.
 *
 * @typedef {Record<string, any> & {type: string}} Part
 * @typedef {Record<string, any> & {status: string, parts: Part[]}} State
 * @typedef {Set<string>} Changes
 */

import { applyOperation } from "./operations.js";

const FINAL = new Set(["done", "stopped", "failed", "interrupted"]);
const UNSETTLED = new Set(["writing", "waiting", "approved", "running"]);

export class RunState {
  /** The position in the run's log that `state` stands at; null before the first snapshot. */
  seq = /** @type {number | null} */ (null);
  state = /** @type {State} */ ({ status: "queued", parts: [] });

  /** Whether nothing more will come. */
  get final() {
    return FINAL.has(this.state.status);
  }

  /**
   * Take a `run.snapshot` frame. It replaces the state, always, even with a lower seq.
   *
   * @param {{seq: number, state: any}} frame
   * @returns {Changes}
   */
  replace(frame) {
    this.seq = frame.seq;
    this.state = readState(frame.state);
    return new Set([""]);
  }

  /**
   * Take a `run.events` frame.
   *
   * @param {{after: number, seq: number, events: any[]}} frame
   * @returns {Changes | null} null where frames are missing in between: ask for a snapshot
   */
  advance(frame) {
    if (this.seq === null || frame.after !== this.seq || !Number.isSafeInteger(frame.seq)) return null;
    this.seq = frame.seq;
    /** @type {Changes} */
    const changes = new Set();
    for (const event of Array.isArray(frame.events) ? frame.events : []) {
      if (isObject(event)) fold(this.state, event, changes);
    }
    return changes;
  }

  /**
   * End a run that the server does not know (any more), keeping what came of it.
   *
   * @param {string} status
   * @param {any} [error]
   * @returns {Changes}
   */
  end(status, error) {
    /** @type {Changes} */
    const changes = new Set();
    settle(this.state, status, changes);
    if (error) set(this.state, "error", error, changes);
    return changes;
  }
}

/** @param {unknown} value @returns {value is Record<string, any>} */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** What a part of a snapshot must have, so that events can be folded into it. */
/** @type {Map<string, (part: Part) => boolean>} */
const SOUND = new Map([
  ["text", (part) => typeof part.text === "string"],
  ["reasoning", (part) => typeof part.text === "string"],
  ["call", (part) => typeof part.call === "string" && "arguments" in part],
]);

/** @param {any} state @returns {State} */
function readState(state) {
  const known = isObject(state) ? state : {};
  const parts = Array.isArray(known.parts) ? known.parts : [];
  const status = typeof known.status === "string" ? known.status : "queued";
  return { ...known, status, parts: parts.map(readPart) };
}

/** @param {any} part @returns {Part} */
function readPart(part) {
  const sound = isObject(part) && typeof part.type === "string" && (SOUND.get(part.type)?.(part) ?? true);
  if (!sound) return { type: "unknown" };
  if ("blocks" in part && !isRendered(part.blocks, part.rest)) delete part.blocks;
  return part;
}

/** Whether this is what the server makes of a text: blocks of its HTML, and the text behind them. */
/** @param {unknown} blocks @param {unknown} rest */
const isRendered = (blocks, rest) =>
  Array.isArray(blocks) && blocks.every((block) => typeof block === "string") && typeof rest === "string";

/** @param {State} state @param {Record<string, any>} event @param {Changes} changes */
function fold(state, event, changes) {
  const verb = EVENTS.get(event.type);
  // `waiting` lasts until the next event of the log; html is derived and stands in no log.
  if (state.status === "waiting" && event.type !== "html") set(state, "status", "running", changes);
  if (verb) verb(state, event, changes);
  else place(state, event.part, { type: "unknown" }, changes);
}

/** What each event does: the protocol's table. */
/** @type {Map<string, (state: State, event: Record<string, any>, changes: Changes) => void>} */
const EVENTS = new Map(
  Object.entries({
    started(state, event, changes) {
      set(state, "status", "running", changes);
      for (const field of ["chain", "version"]) {
        if (event[field] !== undefined) set(state, field, event[field], changes);
      }
    },
    step: (state, event, changes) => place(state, event.part, pick(event, "type", "name", "model"), changes),
    text(state, event, changes) {
      const part = grow(state, event, { type: "text", text: "" }, changes);
      if (part?.blocks) part.rest += event.delta;
    },
    reasoning(state, event, changes) {
      const part = grow(state, event, { type: "reasoning", text: "", ms: 0 }, changes);
      if (part && Number.isFinite(event.ms)) part.ms = event.ms;
    },
    json(state, event, changes) {
      place(state, event.part, { type: "json" }, changes);
      if (partAt(state, event.part)?.type === "json") operate(state, event.part, "value", event.ops, changes);
    },
    file: (state, event, changes) =>
      place(state, event.part, pick(event, "type", "media_type", "url", "name"), changes),
    source: (state, event, changes) => place(state, event.part, pick(event, "type", "url", "title"), changes),
    "tool.started"(state, event, changes) {
      if (typeof event.call !== "string") return;
      const { call, name } = event;
      place(state, event.part, { type: "call", call, name, arguments: {}, status: "writing" }, changes);
    },
    "tool.arguments"(state, event, changes) {
      const at = findCall(state, event.call);
      if (at >= 0) operate(state, at, "arguments", event.ops, changes);
    },
    "tool.ready"(state, event, changes) {
      const more = event.arguments === undefined ? {} : { arguments: event.arguments };
      moveCall(state, event, "ready", more, changes);
    },
    "tool.invalid": (state, event, changes) =>
      moveCall(state, event, "invalid", pick(event, "raw", "message"), changes),
    "tool.approval": (state, event, changes) =>
      moveCall(state, event, "waiting", pick(event, "approval", "expires"), changes),
    "tool.decided": (state, event, changes) =>
      moveCall(state, event, event.approve === true ? "approved" : "denied", pick(event, "reason"), changes),
    "tool.running": (state, event, changes) => moveCall(state, event, "running", {}, changes),
    "tool.result"(state, event, changes) {
      const status = event.error === undefined || event.error === null ? "done" : "failed";
      moveCall(state, event, status, pick(event, "output", "error"), changes);
    },
    usage(state, event, changes) {
      const { type: _, ...usage } = event;
      set(state, "usage", usage, changes);
    },
    reset(state, event, changes) {
      let step = state.parts.length - 1;
      while (step >= 0 && state.parts[step].type !== "step") step -= 1;
      state.parts.length = step + 1;
      if (step >= 0 && event.model !== undefined) state.parts[step].model = event.model;
      changes.add("/parts");
    },
    waiting: (state, _, changes) => set(state, "status", "waiting", changes),
    html(state, event, changes) {
      const part = partAt(state, event.part);
      if (part?.type !== "text" || !isRendered(event.html, event.rest)) return;
      part.blocks ??= [];
      part.blocks.push(...event.html);
      part.rest = event.rest;
      changes.add(`/parts/${event.part}/blocks`);
    },
    finished(state, event, changes) {
      settle(state, "done", changes);
      Object.assign(state, pick(event, "reason", "output"));
    },
    stopped: (state, _, changes) => settle(state, "stopped", changes),
    failed(state, event, changes) {
      settle(state, "failed", changes);
      set(state, "error", pick(event, "code", "message", "retryable", "details"), changes);
    },
    interrupted(state, event, changes) {
      settle(state, "interrupted", changes);
      set(state, "error", pick(event, "code", "message", "retryable"), changes);
    },
  }),
);

/** @param {State} state @param {string} field @param {unknown} value @param {Changes} changes */
function set(state, field, value, changes) {
  state[field] = value;
  changes.add(`/${field}`);
}

/** @param {Record<string, any>} event @param {...string} fields @returns {any} those that are there */
function pick(event, ...fields) {
  const there = fields.filter((field) => event[field] !== undefined);
  return Object.fromEntries(there.map((field) => [field, event[field]]));
}

/** Add a part at the end. Parts only come in order, so any other place is taken or junk. */
/** @param {State} state @param {unknown} at @param {Part} part @param {Changes} changes */
function place(state, at, part, changes) {
  if (at !== state.parts.length) return;
  state.parts.push(part);
  changes.add(`/parts/${at}`);
}

/** @param {State} state @param {unknown} at @returns {Part | undefined} */
const partAt = (state, at) => (Number.isInteger(at) ? state.parts[/** @type {number} */ (at)] : undefined);

/** Append an event's delta to the text part it names, opening the part if it is not there. */
/** @param {State} state @param {Record<string, any>} event @param {Part} empty @param {Changes} changes */
function grow(state, event, empty, changes) {
  if (typeof event.delta !== "string") return null;
  place(state, event.part, empty, changes);
  const part = partAt(state, event.part);
  if (part?.type !== empty.type) return null;
  part.text += event.delta;
  changes.add(`/parts/${event.part}/text`);
  return part;
}

/**
 * @param {State} state
 * @param {number} at
 * @param {string} field
 * @param {unknown} ops
 * @param {Changes} changes
 */
function operate(state, at, field, ops, changes) {
  const part = state.parts[at];
  for (const operation of Array.isArray(ops) ? ops : []) {
    if (!applyOperation(part, field, operation)) continue;
    part.open = operation.path;
    changes.add(`/parts/${at}/${field}${operation.path}`);
    changes.add(`/parts/${at}/open`);
  }
}

/** @param {State} state @param {unknown} call @returns {number} the newest call part of that id, or -1 */
function findCall(state, call) {
  let at = state.parts.length - 1;
  while (at >= 0 && !(state.parts[at].type === "call" && state.parts[at].call === call)) at -= 1;
  return at;
}

/**
 * @param {State} state
 * @param {Record<string, any>} event
 * @param {string} status
 * @param {object} more further fields of the part
 * @param {Changes} changes
 */
function moveCall(state, event, status, more, changes) {
  const at = findCall(state, event.call);
  if (at < 0) return;
  Object.assign(state.parts[at], { status }, more);
  if (status !== "writing") delete state.parts[at].open;
  changes.add(`/parts/${at}`);
}

/** Give the run its last status; a call that was under way comes to nothing. */
/** @param {State} state @param {string} status @param {Changes} changes */
function settle(state, status, changes) {
  set(state, "status", status, changes);
  state.parts.forEach((part, at) => {
    if (part.type === "json") delete part.open;
    if (part.type !== "call" || !UNSETTLED.has(part.status)) return;
    part.status = "cancelled";
    delete part.open;
    changes.add(`/parts/${at}`);
  });
}
