/**
 * What stands around thread and composer: the heading, the folded list, the quiet status, the
 * page's address and title, and the key that stops.
 *
 * Events: `stop`, `route` (detail: the conversation of the address), `suggest` (detail: a text).
 */

const ID = "[0-9a-fA-F-]{36}";

export class Shell extends EventTarget {
  #status = "";

  /**
   * @param {HTMLElement} root
   * @param {any} config
   * @param {import("../strings.js").Strings} strings
   * @param {boolean} routes whether the address of the page is ours
   */
  constructor(root, config, strings, routes) {
    super();
    this.root = root;
    this.config = config;
    this.strings = strings;
    this.routes = routes;
    this.frame = this.target("chat");
    this.heading = this.target("heading");
    this.toggle = this.target("list-toggle");
    this.status = this.target("status");
  }

  /** @param {string} name @returns {any} */
  target(name) {
    return this.root.querySelector(`[data-target="${name}"]`);
  }

  get token() {
    return this.root.querySelector("input[name=csrfmiddlewaretoken]")?.getAttribute("value") ?? "";
  }

  connect() {
    document.addEventListener("keydown", this.#keydown);
    this.toggle?.addEventListener("click", this.#toggled);
    this.root.addEventListener("click", this.#clicked);
    if (this.routes) window.addEventListener("popstate", this.#moved);
  }

  disconnect() {
    document.removeEventListener("keydown", this.#keydown);
    this.toggle?.removeEventListener("click", this.#toggled);
    this.root.removeEventListener("click", this.#clicked);
    window.removeEventListener("popstate", this.#moved);
  }

  /** @param {string | null} conversation @param {string} title */
  showConversation(conversation, title) {
    const name = title || (conversation ? this.strings.text("untitled") : this.strings.text("new"));
    this.heading.textContent = name;
    if (!this.routes) return;
    document.title = title ? `${title} – ${this.config.title}` : this.config.title;
    const { urls } = this.config;
    const address = conversation ? urls.conversation.replace("{conversation}", conversation) : urls.page;
    const known = this.#conversationOf(location.pathname);
    if (known !== conversation) history[known === undefined ? "replaceState" : "pushState"]({}, "", address);
  }

  /** @param {boolean} isEmpty */
  showEmpty(isEmpty) {
    this.target("empty").hidden = !isEmpty;
    this.frame.classList.toggle("is-empty", isEmpty);
  }

  /** @param {boolean} busy @param {string} status */
  showStatus(busy, status) {
    this.root.classList.toggle("is-busy", busy);
    this.target("viewport").setAttribute("aria-busy", String(busy && status !== "waiting"));
    if (status === this.#status) return;
    this.#status = status;
    this.announce(this.strings.has(`announce.${status}`) ? this.strings.text(`announce.${status}`) : "");
  }

  /** Said when there is nothing else to say; never what a model writes. */
  /** @param {string} text */
  announce(text) {
    this.status.textContent = text;
  }

  /** @param {string} pathname @returns {string | null | undefined} null: a new one; undefined: another page */
  #conversationOf(pathname) {
    const path = (/** @type {string} */ address) => new URL(address, location.href).pathname;
    const { urls } = this.config;
    if (pathname === path(urls.page)) return null;
    const [before, after] = path(urls.conversation).replace(/%7Bconversation%7D/i, "{conversation}").split("{conversation}");
    const id = pathname.slice(before.length, pathname.length - after.length);
    const fits = pathname === before + id + after && new RegExp(`^${ID}$`).test(id);
    return fits ? id : undefined;
  }

  closeList() {
    if (this.toggle?.getAttribute("aria-expanded") === "true" && this.frame.classList.contains("is-list-open")) {
      this.#showList(false);
    }
  }

  #toggled = () => this.#showList(!this.frame.classList.contains("is-list-open"));

  /** @param {boolean} isOpen */
  #showList(isOpen) {
    this.frame.classList.toggle("is-list-open", isOpen);
    this.toggle.setAttribute("aria-expanded", String(isOpen));
  }

  #moved = () => {
    const conversation = this.#conversationOf(location.pathname);
    if (conversation !== undefined) this.dispatchEvent(new CustomEvent("route", { detail: conversation }));
  };

  /** @param {Event} event */
  #clicked = (event) => {
    const target = /** @type {Element} */ (event.target);
    const path = event.composedPath(); // a menu item may be gone from the page by now
    if (!path.includes(this.target("list")) && !path.includes(this.toggle)) this.closeList();
    const button = target.closest("[data-suggestion]");
    if (!(button instanceof HTMLElement)) return;
    this.dispatchEvent(new CustomEvent("suggest", { detail: button.dataset.suggestion }));
  };

  /**
   * Escape stops the answer, for whoever reads or writes; with several chats on a page, the one that
   * he is in. In a search or another small field it is about that field.
   */
  /** @param {KeyboardEvent} event */
  #keydown = (event) => {
    if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
    const at = /** @type {Element} */ (event.target);
    const isAlone = document.querySelectorAll("openrouter-chat").length === 1;
    const isNowhere = isAlone && at === document.body;
    if (!this.root.contains(at) && !isNowhere) return;
    const isInTalk = at.closest("[data-target=viewport], [data-target=form]") && !at.matches("input");
    if (this.frame.classList.contains("is-list-open")) {
      event.preventDefault();
      this.#showList(false);
      this.toggle.focus();
    } else if ((isInTalk || isNowhere) && this.root.classList.contains("is-busy")) {
      event.preventDefault();
      this.dispatchEvent(new Event("stop"));
    }
  };
}
