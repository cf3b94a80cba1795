/**
 * A chain's page: the form, one run at a time, its answer, and the earlier answers of this visit.
 *
 * The page remembers its newest run, so a reload goes on where it was: an accepted run is
 * followed again, a start without an answer is said again with its id. Where it has nothing of
 * its own under way, it joins the answer that is being written for another tab or device of the
 * same visitor, if the server named one.
 */

import { AccountOffer } from "./account-offer.js";
import { AnswerView } from "./answer-view.js";
import { Client } from "./client.js";
import { Connection } from "./connection.js";
import { ConnectionStatus } from "./connection-status.js";
import { EarlierAnswers } from "./earlier-answers.js";
import { Memory } from "./memory.js";
import { complaint } from "./problems.js";
import { PromptForm } from "./prompt-form.js";

/** @typedef {import("./client.js").Run} Run */

export class ChainPage {
  /** @type {Run | null} the newest run, from its start on */
  run = null;
  /** @type {AnswerView | null} the newest answer on the page */
  answer = null;

  /**
   * @param {HTMLElement} root
   * @param {{chain: string, socket: string, unfinished?: string | null, account?: string | null, connected?: boolean}} config
   * @param {import("./strings.js").Strings} strings
   */
  constructor(root, config, strings) {
    this.root = root;
    this.chain = config.chain;
    this.elsewhere = config.unfinished ?? null; // a run of this visitor that this page may join
    this.account = new AccountOffer(root, config, strings);
    this.strings = strings;
    this.memory = new Memory(`openrouter:${config.chain}:`);
    this.connection = new Connection(config.socket);
    this.client = new Client(this.connection);
    this.connectionStatus = new ConnectionStatus(this.connection, root, strings);
    this.form = new PromptForm(this.#target("form"), this.memory, strings);
    this.earlier = new EarlierAnswers(this.#target("earlier"), strings);
    this.runButton = this.#target("run");
    this.stopButton = this.#target("stop");
    this.status = this.#target("status");
  }

  connect() {
    this.form.addEventListener("run", this.#run);
    this.stopButton.addEventListener("click", this.#stop);
    document.addEventListener("keydown", this.#keydown);
    this.client.addEventListener("error", this.#complain);
    this.form.connect();
    this.connectionStatus.connect();
    this.connection.open();
    this.#remember();
    this.#showBusy();
  }

  /** A hidden page lets its socket go, or the browser could not keep the page for "back". */
  disconnect() {
    this.form.removeEventListener("run", this.#run);
    this.stopButton.removeEventListener("click", this.#stop);
    document.removeEventListener("keydown", this.#keydown);
    this.client.removeEventListener("error", this.#complain);
    this.form.disconnect();
    this.connection.close();
    this.connectionStatus.disconnect();
  }

  get busy() {
    return this.run !== null && !this.run.final;
  }

  /** @param {string} name @returns {any} */
  #target(name) {
    return this.root.querySelector(`[data-target="${name}"]`);
  }

  #remember() {
    if (this.run) return; // back from the browser's page cache: everything is still here
    const { id, run, input, options, stopping } = this.memory.read("run") ?? {};
    if (typeof run === "string") this.#adopt(this.client.follow(run), input);
    else if (typeof id === "string")
      this.#adopt(this.client.start(this.chain, input ?? {}, { id, ...(options ? { options } : {}) }), input);
    else this.#join();
    if (stopping && this.run) this.run.stopping = true; // said as soon as the server knows which run
    // What this page remembers may have ended meanwhile, and another tab have gone on.
    const remembered = this.run;
    remembered?.addEventListener("change", () => remembered.final && this.#join(), { once: true });
  }

  /** Watch what was started elsewhere. Offered once, by a page that has just been loaded. */
  #join() {
    const { elsewhere, run } = this;
    this.elsewhere = null;
    if (!elsewhere || elsewhere === run?.id) return;
    const joined = this.client.follow(elsewhere);
    this.#keep(joined, undefined);
    this.#adopt(joined, undefined);
  }

  /** What a reload needs to go on from here. */
  /** @param {Run} run @param {Record<string, string> | undefined} input */
  #keep(run, input) {
    const { id, request, stopping } = run;
    const { id: start, options } = request ?? {};
    this.memory.write("run", { id: start, run: id ?? undefined, input, options, stopping });
  }

  #run = () => this.#start(this.form.values());

  /** @param {Record<string, string>} input @param {Record<string, unknown>} [options] */
  #start(input, options) {
    const { connection, strings } = this;
    if (this.busy) return;
    if (connection.dead) return this.form.refuse(strings.text(`banner.${connection.status}`));
    const run = this.client.start(this.chain, input, options ? { options } : {});
    this.#keep(run, input);
    this.#adopt(run, input);
    this.#show(run, input);
  }

  /** The same once more. The button that asked for it goes away; the focus goes where it is of use. */
  /** @param {Record<string, string>} input @param {Record<string, unknown>} [options] */
  #retry(input, options) {
    this.stopButton.focus();
    this.#start(input, options);
  }

  /** @param {Run} run @param {Record<string, string> | undefined} input */
  #adopt(run, input) {
    this.run = run;
    /** @param {string} type @param {(detail: any) => void} react */
    const on = (type, react) =>
      run.addEventListener(type, (event) => react(/** @type {CustomEvent} */ (event).detail));
    on("accepted", () => this.#keep(run, input));
    on("stopping", () => this.#keep(run, input));
    on("refused", (error) => this.#refuse(error));
    on("change", (changes) => this.#change(run, input, changes));
    run.addEventListener("error", this.#complain);
    this.#showBusy();
  }

  /** @param {Run} run @param {any} input @param {Set<string>} changes */
  #change(run, input, changes) {
    // Nothing ever came of it, and the server does not have it: no reload may start it.
    const nothing = run.final && run.fold.seq === null;
    if (nothing) this.memory.write("run", undefined);
    if (this.answer?.run !== run) {
      if (nothing) return this.#forget();
      const asked = run.state.input ?? input ?? {};
      if (!run.request) this.form.suggest(asked);
      this.#show(run, asked);
    }
    if (changes.has("") || changes.has("/status")) this.#showBusy();
  }

  /** @param {Run} run @param {Record<string, string>} input */
  #show(run, input) {
    if (this.answer) this.earlier.add(this.answer);
    this.answer = new AnswerView(run, input, this.strings, (options) => this.#retry(input, options), {
      account: this.account,
    });
    this.#target("empty").hidden = true;
    this.#target("current").replaceChildren(this.answer.element);
    this.answer.connect();
    // Where the form fills the screen, the answer somebody has just asked for would begin unseen.
    if (run.request) this.answer.element.scrollIntoView({ block: "nearest" });
  }

  /** Nothing was started: the answer before is the newest again. */
  #withdraw() {
    if (this.answer?.run !== this.run) return;
    this.answer?.disconnect();
    this.answer = this.earlier.takeBack();
    this.#target("current").replaceChildren(...(this.answer ? [this.answer.element] : []));
    this.#target("empty").hidden = this.answer !== null;
  }

  #forget() {
    this.run = null;
    this.memory.write("run", undefined);
    this.#showBusy();
  }

  /** @param {{code: string, message: string, details?: any}} error */
  #refuse(error) {
    this.#withdraw();
    this.#forget();
    this.form.refuse(complaint(error, this.strings), error.details?.variables, this.account.of(error));
  }

  /** @param {Event} event */
  #complain = (event) => {
    this.form.refuse(complaint(/** @type {CustomEvent} */ (event).detail, this.strings));
  };

  #stop = () => {
    if (!this.busy) return;
    this.run?.stop();
    this.#showBusy();
  };

  /** @param {KeyboardEvent} event */
  #keydown = (event) => {
    if (event.key !== "Escape" || event.isComposing || event.defaultPrevented || !this.busy) return;
    event.preventDefault();
    this.#stop();
  };

  /**
   * The buttons and the quiet status. `aria-disabled`, not `disabled`: a button that is disabled
   * under somebody's finger throws the focus away.
   */
  #showBusy() {
    const { busy, strings } = this;
    const status = this.run?.phase ?? "idle";
    this.root.classList.toggle("is-busy", busy);
    this.runButton.disabled = this.stopButton.disabled = false; // as they are until this script runs
    this.runButton.setAttribute("aria-disabled", String(busy));
    this.stopButton.setAttribute("aria-disabled", String(!busy || Boolean(this.run?.stopping)));
    const announced = strings.has(`announce.${status}`) ? strings.text(`announce.${status}`) : "";
    if (this.status.textContent !== announced) this.status.textContent = announced;
  }
}
