/**
 * `<openrouter-chat chain="slug">`: a chat with a chain, in any page.
 *
 *     <script type="module" src="{% static 'openrouter_app/js/openrouter-chat.js' %}"></script>
 *     <openrouter-chat chain="support"></openrouter-chat>
 *
 * `{% openrouter_chat "support" %}` writes both, and the chat's content inside. Without content, or
 * made by a script, the element fetches it; where that goes wrong, it says so, in the words of its
 * attributes `failed` and `retry`, and can be told to try again.
 *
 * Attributes: `chain`; `conversation` (its id; otherwise the newest of this tab, or a new one);
 * `base` (where `openrouter_app.urls` is mounted, "/" if absent); `no-list` (without the list of
 * conversations); `routes` (the address of the page follows the conversation; on the app's own
 * pages). Its look: the custom properties `--openrouter-*`, see docs/your-own-page.md.
 */

import { Chat } from "./chat/chat.js";
import { element } from "./element.js";
import { Strings } from "./strings.js";

const STYLES = ["tokens", "page", "form", "answer", "markdown", "chat"];

export class OpenRouterChat extends HTMLElement {
  /** @type {Chat | null} once its content is there */
  chat = null;
  #begun = false;

  connectedCallback() {
    addEventListener("pagehide", this.#hide);
    addEventListener("pageshow", this.#show);
    if (this.chat) this.chat.connect();
    else if (document.readyState === "loading") addEventListener("DOMContentLoaded", this.#begin, { once: true });
    else this.#begin();
  }

  disconnectedCallback() {
    removeEventListener("pagehide", this.#hide);
    removeEventListener("pageshow", this.#show);
    this.chat?.disconnect();
  }

  #hide = () => this.chat?.disconnect();

  /** @param {PageTransitionEvent} event */
  #show = (event) => {
    if (event.persisted) this.chat?.connect();
  };

  #begin = async () => {
    if (this.#begun) return;
    this.#begun = true;
    try {
      if (!this.querySelector("[data-config]")) await this.#fill();
    } catch (error) {
      this.#begun = false;
      console.warn(error);
      return this.#complain();
    }
    this.#enliven();
  };

  /** The page's strings have not come either. */
  #complain() {
    const words = this.getAttribute("failed") ?? "The chat cannot be loaded. Look at your connection and try again.";
    const again = element("button", { type: "button", class: "openrouter-button" }, this.getAttribute("retry") ?? "Try again");
    const problem = element("div", { class: "openrouter openrouter-unloaded", role: "alert" }, element("p", {}, words), again);
    again.addEventListener("click", this.#begin);
    const wasInside = this.contains(document.activeElement);
    this.replaceChildren(problem);
    if (wasInside) again.focus();
  }

  async #fill() {
    const styled = addStyles(); // nothing is shown in the browser's own look
    const base = new URL(this.getAttribute("base") ?? "/", location.href);
    const url = new URL(`chains/${encodeURIComponent(this.getAttribute("chain") ?? "")}/chat/`, base);
    const conversation = this.getAttribute("conversation");
    if (conversation) url.searchParams.set("conversation", conversation);
    const response = await fetch(url, { credentials: "same-origin" });
    if (!response.ok || response.redirected) throw new Error(`There is no chat at ${url.pathname} (${response.status}).`);
    const template = document.createElement("template");
    template.innerHTML = await response.text(); // our own page's content, from the same site
    await styled;
    this.replaceChildren(template.content);
  }

  #enliven() {
    if (this.hasAttribute("no-list")) this.querySelectorAll("[data-target^=list]").forEach((part) => part.remove());
    const config = JSON.parse(this.querySelector("[data-config], [data-config] script")?.textContent ?? "null");
    /** @type {HTMLTemplateElement | null} */
    const words = this.querySelector("template[data-openrouter-strings]");
    const strings = new Strings(words, document.documentElement.lang);
    this.querySelectorAll("[data-without-script]").forEach((part) => part.remove());
    const name = this.id || String([...document.querySelectorAll("openrouter-chat")].indexOf(this));
    this.chat = new Chat(this, config, strings, { routes: this.hasAttribute("routes"), name });
    this.classList.add("is-alive");
    if (this.isConnected) this.chat.connect();
  }

  /** The one client below, for a page's own scripts. */
  get client() {
    return this.chat?.client ?? null;
  }
}

/** Those of our style sheets that the page has not got; settled when they are there, or cannot be had. */
function addStyles() {
  const loading = [];
  for (const name of STYLES) {
    const file = new RegExp(`/css/${name}(\\.[0-9a-f]+)?\\.css$`);
    const links = [...document.querySelectorAll('link[rel="stylesheet"]')];
    if (links.some((link) => file.test(new URL(/** @type {HTMLLinkElement} */ (link).href).pathname))) continue;
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = new URL(`../css/${name}.css`, import.meta.url).href;
    loading.push(new Promise((done) => (link.onload = link.onerror = done)));
    document.head.append(link);
  }
  return Promise.all(loading);
}

if (!customElements.get("openrouter-chat")) customElements.define("openrouter-chat", OpenRouterChat);
