/**
 * The way to an OpenRouter account of one's own, where that is what a run lacks: a button that begins
 * the sign-in at once, or a link to the account's page.
 *
 * The button posts the form that the server has put into the page, with its token against forged
 * requests, to this site and to no other.
 */

import { element } from "./element.js";

const LACKS = new Set(["needs_key", "key_rejected", "credit", "budget"]);

/**
 * @typedef {object} Failure
 * @property {unknown} [payer] whose account it was that failed
 * @property {boolean} [isNews] it has just happened, and is no part of what the page was loaded with
 */

export class AccountOffer {
  /**
   * @param {HTMLElement} root what the form stands in
   * @param {{account?: string | null, connected?: boolean}} config account: the address of the account's
   *   page, where the chain lets users pay; connected: whether there was an account when the page was loaded
   * @param {import("./strings.js").Strings} strings
   */
  constructor(root, { account, connected }, strings) {
    this.root = root;
    this.account = account ?? null;
    this.connected = connected === true;
    this.strings = strings;
  }

  /**
   * What is offered beside an error; null where an account would not help.
   *
   * @param {any} error
   * @param {Failure} [failure]
   */
  of(error, { payer = "site", isNews = true } = {}) {
    if (!this.account || !lacksAccount(error)) return null;
    const isOwn = payer === "user";
    if (isNews && (error.code === "needs_key" || (isOwn && error.code === "key_rejected"))) this.connected = false;
    if (this.connected || (isOwn && error.code === "credit")) return this.#link("account.open");
    return this.#form ? this.#button() : this.#link("account.connect");
  }

  /**
   * Whether what was lacking is there by now, so that one can ask again.
   *
   * @param {any} error
   */
  isThere(error) {
    return this.connected && this.account !== null && lacksAccount(error) && error.code !== "credit";
  }

  /** @returns {HTMLFormElement | null} */
  get #form() {
    return this.root.querySelector("form[data-target=connect]");
  }

  #button() {
    const text = this.strings.text("account.connect");
    const button = element("button", { type: "button", class: "openrouter-button openrouter-offer" }, text);
    button.addEventListener("click", this.#connect);
    return button;
  }

  #connect = () => {
    const form = this.#form;
    // As scripts ask for everything: a page's <base> leads nothing to another site.
    const action = new URL(form?.getAttribute("action") ?? "", location.href);
    const next = form?.querySelector("[name=next]");
    if (!form || !(next instanceof HTMLInputElement) || action.origin !== location.origin) return;
    form.setAttribute("action", action.href);
    next.value = here();
    form.submit();
  };

  /** @param {string} key of its text */
  #link(key) {
    const url = new URL(this.account ?? "", location.href);
    url.searchParams.set("next", here());
    return element("a", { class: "openrouter-offer", href: url.href }, this.strings.text(key));
  }
}

const here = () => location.pathname + location.search;

/** @param {any} error */
const lacksAccount = (error) => LACKS.has(error?.code) || error?.details?.connect === true;
