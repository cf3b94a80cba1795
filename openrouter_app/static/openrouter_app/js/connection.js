/**
 * One websocket to the server, kept alive: greeted, listened to, opened again when it breaks. It
 * knows frames, not runs; what must be said again after a break is `Client`'s business.
 *
 *     const connection = new Connection("/ws/openrouter/");
 *     connection.addEventListener("ready", (event) => console.log(event.detail.hello));
 *     connection.addEventListener("frame", (event) => console.log(event.detail));
 *     connection.open();
 *
 * Events: `status` (look at `connection.status`), `ready` {hello, closeCode} (frames may be sent
 * from now on; `closeCode` is how the socket before this one ended), `frame` (any other frame).
 *
 * @typedef {"closed" | "connecting" | "ready" | "waiting" | "outdated" | "signed-out"} Status
 *   closed: not wanted; waiting: for the next try; outdated: the server speaks another protocol,
 *   nothing is sent and a reload helps; signed-out: the session is gone, trying again does not help.
 */

const PROTOCOL = 1;
const HEARTBEAT = 20; // seconds, until the server has named its own
const IMPATIENCE = 4_000; // milliseconds for an answer to somebody who has come back
const SHORTEST_DELAY = 250; // milliseconds
const LONGEST_DELAY = 15_000;
const UNWELCOME_DELAY = 5_000;
const PROVEN_AFTER = 5_000; // a socket that lived this long was no failed try

const SIGNED_OUT = 4401;
const UNWELCOME = new Set([1008, 1013]); // flood, overload: come back later rather than sooner

export class Connection extends EventTarget {
  /** @type {Status} */
  status = "closed";
  /** @type {Record<string, any> | null} the greeting of the socket that is open now */
  hello = null;
  /** @type {WebSocket | null} */
  #socket = null;
  #opened = 0; // when the socket was
  #failures = 0;
  #heard = 0; // when the last frame came
  #pinged = false;
  #heartbeat = HEARTBEAT * 1000; // milliseconds
  #closeCode = /** @type {number | null} */ (null);
  #heartbeatTimer = 0;
  #retryTimer = 0;

  /**
   * @param {string} path where the socket is, as an address relative to this page
   * @param {{html?: boolean}} [options] html: the server is to render finished blocks of text
   */
  constructor(path, { html = false } = {}) {
    super();
    const url = new URL(path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (html) url.searchParams.set("html", "1");
    this.url = url.href;
  }

  /** Connect, and stay connected until `close`. */
  open() {
    if (this.status !== "closed") return;
    window.addEventListener("online", this.#hurry);
    document.addEventListener("visibilitychange", this.#hurry);
    this.#dial();
  }

  /** Whether only a reload can bring it back. */
  get dead() {
    return this.status === "outdated" || this.status === "signed-out";
  }

  close() {
    window.removeEventListener("online", this.#hurry);
    document.removeEventListener("visibilitychange", this.#hurry);
    this.#drop();
    this.#become("closed");
  }

  /**
   * @param {object} frame
   * @returns {boolean} whether it was sent; nothing is kept for later
   */
  send(frame) {
    if (this.status !== "ready") return false;
    this.#socket?.send(JSON.stringify(frame));
    return true;
  }

  #dial() {
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    this.#become("connecting");
    this.#hear();
    this.#opened = Date.now();
    this.#watch();
    socket.addEventListener("message", (event) => this.#receive(socket, event.data));
    socket.addEventListener("close", (event) => {
      if (socket === this.#socket) this.#lost(event.code, Date.now() - this.#opened);
    });
  }

  /** @param {WebSocket} socket @param {unknown} data */
  #receive(socket, data) {
    if (socket !== this.#socket) return;
    this.#hear();
    const frame = parseFrame(data);
    if (frame?.type === "hello") this.#greet(frame);
    else if (frame && this.status === "ready") this.#tell("frame", frame);
  }

  /** @param {Record<string, any>} hello */
  #greet(hello) {
    if (hello.protocol !== PROTOCOL) {
      this.#drop();
      this.#become("outdated");
      return;
    }
    this.hello = hello;
    this.#heartbeat = 1000 * (hello.heartbeat > 0 ? Number(hello.heartbeat) : HEARTBEAT);
    this.#become("ready");
    this.#watch();
    this.#tell("ready", { hello, closeCode: this.#closeCode });
  }

  #hear() {
    this.#heard = performance.now();
    this.#pinged = false;
  }

  /**
   * Ping what was silent for a heartbeat, give up what was silent for another. The timer asks
   * what time it is rather than trusting itself: in a hidden tab it may come a minute late.
   */
  #watch = () => {
    clearTimeout(this.#heartbeatTimer);
    const silence = performance.now() - this.#heard;
    if (this.#pinged) this.#giveUp();
    else if (silence >= this.#heartbeat) this.#ask(this.#heartbeat);
    else this.#heartbeatTimer = setTimeout(this.#watch, this.#heartbeat - silence);
  };

  /** Whether anybody is still there. */
  /** @param {number} patience milliseconds */
  #ask(patience) {
    clearTimeout(this.#heartbeatTimer);
    this.#pinged = this.send({ type: "ping" });
    if (this.#pinged) this.#heartbeatTimer = setTimeout(this.#watch, patience);
    else this.#giveUp();
  }

  #giveUp() {
    this.#lost(1006, Date.now() - this.#opened);
  }

  /** @param {number} code how the socket ended @param {number} lifetime milliseconds */
  #lost(code, lifetime) {
    this.#drop();
    this.#closeCode = code;
    if (code === SIGNED_OUT) {
      this.#become("signed-out");
      return;
    }
    if (lifetime > PROVEN_AFTER) this.#failures = 0;
    // The whole delay is jitter: after a restart, every page of the site stands here at once.
    const shortest = UNWELCOME.has(code) ? UNWELCOME_DELAY : SHORTEST_DELAY;
    const longest = Math.min(shortest + 500 * 2 ** this.#failures, LONGEST_DELAY);
    const delay = shortest + Math.random() * (longest - shortest);
    this.#failures += 1;
    this.#retryTimer = setTimeout(() => this.#dial(), delay);
    this.#become("waiting");
  }

  /**
   * The network is back, or somebody looks at the page again: do not sit out a long delay, nor
   * trust a socket that may have died while this machine slept.
   */
  #hurry = () => {
    if (document.visibilityState === "hidden") return;
    const isStuck = this.status === "connecting" && Date.now() - this.#opened > IMPATIENCE;
    if (this.status === "waiting" || isStuck) {
      this.#drop();
      this.#dial();
    } else if (this.status === "ready") {
      this.#ask(Math.min(IMPATIENCE, this.#heartbeat));
    }
  };

  #drop() {
    clearTimeout(this.#heartbeatTimer);
    clearTimeout(this.#retryTimer);
    const socket = this.#socket;
    this.#socket = null;
    this.hello = null;
    socket?.close();
  }

  /** @param {Status} status */
  #become(status) {
    if (this.status === status) return;
    this.status = status;
    this.dispatchEvent(new Event("status"));
  }

  /** @param {string} type @param {unknown} detail */
  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** @param {unknown} data @returns {Record<string, any> | null} null for what is no frame */
function parseFrame(data) {
  try {
    const frame = JSON.parse(/** @type {string} */ (data));
    return typeof frame?.type === "string" ? frame : null;
  } catch {
    return null;
  }
}
