"""The app's JavaScript modules in a page: their names in scope, and a socket that a test can play."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page

IMPORTS = """
const at = (name) => import(`/openrouter_app/js/${name}.js`);
const { RunState } = await at("state");
const { applyOperation } = await at("operations");
const { connect } = await at("client");
const { AnswerView } = await at("answer-view");
const { StreamedText } = await at("streamed-text");
const { partView } = await at("part-views");
const { Strings } = await at("strings");
"""

FAKE_SOCKET = """
window.sockets = [];
window.WebSocket = class extends EventTarget {
  constructor(url) { super(); this.url = url; this.sent = []; this.open = true; sockets.push(this); }
  send(text) { if (!this.open) throw new Error("sent on a closed socket"); this.sent.push(JSON.parse(text)); }
  close() { this.open = false; }
  say(...frames) {
    for (const frame of frames) {
      const data = typeof frame === "string" ? frame : JSON.stringify(frame);
      this.dispatchEvent(new MessageEvent("message", { data }));
    }
    return this;
  }
  hello(more) { return this.say({ type: "hello", protocol: 1, heartbeat: 20, max_frame: 65536, ...more }); }
  die(code = 1006) { this.open = false; this.dispatchEvent(new CloseEvent("close", { code })); }
};
window.last = () => sockets.at(-1);
window.snapshot = (state = {}, seq = 0, run = "R") =>
  ({ type: "run.snapshot", run, seq, state: { status: "queued", parts: [], ...state } });
window.accepted = (socket, run = "R") => {
  const { id } = socket.sent.find((frame) => frame.type === "run.start");
  return { type: "run.accepted", id, run, conversation: null };
};
window.step = (after, events, run = "R") =>
  ({ type: "run.events", run, after, seq: after + events.length, events });
window.frames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
"""

START = """
const client = connect("/ws/openrouter/");
const run = client.start("joke", { foo: "bears" });
"""
"""A client with one run that it has asked for, on a socket that is not greeted yet."""


def run_js(page: Page, body: str, argument: Any = None) -> Any:
    """What an async function with the modules in scope returns; ``given`` is the argument."""
    # As JSON text both ways: Playwright's own copies of values lose a key `__proto__`.
    page.evaluate(FAKE_SOCKET)
    work = f"async (given) => {{ {IMPORTS} {body} }}"
    script = f"async (text) => JSON.stringify(await ({work})(JSON.parse(text))) ?? 'null'"
    return json.loads(page.evaluate(script, json.dumps(argument)))
