/**
 * The visitor's conversations with this chain: open one, find one, rename, delete, export.
 *
 * Events: `open` {conversation} (null: a new one), `titled` {conversation, title}, `deleted`
 * {conversation}, `problem` (an `ApiError`).
 */

import { element } from "../element.js";
import { asText } from "../value-view.js";
import { iconButton } from "./icons.js";

const PATIENCE = 200; // milliseconds after the last key, before a search is asked

export class ConversationList extends EventTarget {
  /** @type {any[]} */
  #shown = [];
  /** @type {any[] | null} what came while a menu was open */
  #late = null;
  /** @type {string | null} */
  #active = null;
  /** @type {Map<string, {told: string, row: HTMLElement}>} by conversation */
  #rows = new Map();
  #timer = 0;
  #asked = 0;

  /**
   * @param {HTMLElement} root
   * @param {import("./api.js").Api} api
   * @param {{waitsIn: (conversation: string) => boolean}} composer
   * @param {string} chain
   * @param {import("../strings.js").Strings} strings
   */
  constructor(root, api, composer, chain, strings) {
    super();
    this.root = root;
    this.api = api;
    this.composer = composer;
    this.chain = chain;
    this.strings = strings;
    this.list = this.#target("conversations");
    this.search = this.#target("search");
    this.fresh = this.#target("new");
    this.none = this.#target("no-conversations");
    this.all = this.#target("all-conversations");
  }

  /** @param {string} name @returns {any} */
  #target(name) {
    return this.root.querySelector(`[data-target="${name}"]`);
  }

  connect() {
    this.search.addEventListener("input", this.#searched);
    this.search.form?.addEventListener("submit", this.#submitted);
    this.fresh.addEventListener("click", this.#opened);
    this.list.addEventListener("click", this.#opened);
    document.addEventListener("visibilitychange", this.#seen);
  }

  disconnect() {
    clearTimeout(this.#timer);
    this.search.removeEventListener("input", this.#searched);
    this.search.form?.removeEventListener("submit", this.#submitted);
    this.fresh.removeEventListener("click", this.#opened);
    this.list.removeEventListener("click", this.#opened);
    document.removeEventListener("visibilitychange", this.#seen);
  }

  /** @param {string | null} conversation the one that is open */
  mark(conversation) {
    this.#active = conversation;
    for (const link of this.list.querySelectorAll("a[data-conversation]")) {
      if (link.dataset.conversation === conversation) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (conversation === null) this.fresh.setAttribute("aria-current", "page");
    else this.fresh.removeAttribute("aria-current");
  }

  /** Ask for the list again, soon: several reasons at once are one. */
  refresh(patience = PATIENCE) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#load(), patience);
  }

  async #load() {
    const asked = (this.#asked += 1);
    try {
      const { conversations, more } = await this.api.list(this.chain, this.search.value.trim());
      if (asked !== this.#asked) return;
      this.#show(conversations);
      this.all.hidden = more !== true;
    } catch {
      // The list is not what the page is for; the next reason to ask comes soon.
    }
  }

  /** @param {any[]} conversations */
  #show(conversations) {
    if (this.list.querySelector(".is-open")) {
      this.#late = conversations; // not under somebody's hands
      return;
    }
    this.#late = null;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement?.closest("a[data-conversation]"));
    this.#shown = conversations;
    this.#place(conversations.map((conversation) => this.#rowOf(conversation)));
    this.none.hidden = conversations.length > 0;
    this.none.textContent = this.strings.text(this.search.value.trim() ? "list.nothing" : "list.none");
    this.mark(this.#active);
    for (const { conversation, title } of conversations) {
      if (conversation === this.#active && title) this.#tellTitle(conversation, title);
    }
    if (focused && !focused.isConnected) this.#link(focused.dataset.conversation)?.focus();
  }

  /** What is said of it already stays the same element: somebody may be about to press it. */
  /** @param {any} conversation @returns {HTMLElement} */
  #rowOf(conversation) {
    const waits = this.composer.waitsIn(conversation.conversation);
    const told = JSON.stringify([conversation.title, conversation.running, waits]);
    const known = this.#rows.get(conversation.conversation);
    if (known && known.told === told && known.row.isConnected) return known.row;
    const row = this.#item(conversation);
    this.#rows.set(conversation.conversation, { told, row });
    return row;
  }

  /** @param {HTMLElement[]} rows */
  #place(rows) {
    let at = this.list.firstElementChild;
    for (const row of rows) {
      if (row === at) at = at.nextElementSibling;
      else this.list.insertBefore(row, at);
    }
    while (at) {
      const gone = at;
      at = at.nextElementSibling;
      gone.remove();
    }
  }

  /** @param {string | undefined} id @returns {HTMLElement | null} */
  #link(id) {
    return [...this.list.querySelectorAll("a[data-conversation]")].find(
      (link) => link.dataset.conversation === id,
    );
  }

  /** @param {any} conversation */
  #item(conversation) {
    const { strings } = this;
    const id = asText(conversation.conversation);
    const title = asText(conversation.title) || strings.text("untitled");
    const href = this.api.address("conversation", id);
    const link = element("a", { href, "data-conversation": id, dir: "auto", title }, title);
    if (conversation.running === true) {
      const running = element("span", { class: "openrouter-hidden" }, ` (${strings.text("list.running")})`);
      link.append(running);
    }
    const waits = this.composer.waitsIn(id);
    if (waits) link.append(element("span", { class: "openrouter-hidden" }, ` (${strings.text("list.held")})`));
    if (waits) link.title = `${title} (${strings.text("list.held")})`;
    const row = element("li", { class: conversation.running === true ? "is-running" : "" });
    row.classList.toggle("is-held", waits);
    const more = iconButton("more", strings.text("list.more", { title }), () => this.#toggle(row, more, id, title));
    more.setAttribute("aria-expanded", "false");
    row.append(element("div", { class: "openrouter-list__row" }, link, more));
    return row;
  }

  /** @param {HTMLElement} row @param {HTMLElement} more @param {string} id @param {string} title */
  #toggle(row, more, id, title) {
    const isOpen = row.classList.toggle("is-open");
    more.setAttribute("aria-expanded", String(isOpen));
    row.querySelector(".openrouter-list__menu")?.remove();
    if (!isOpen) {
      if (this.#late) this.refresh(0);
      return;
    }
    const { strings } = this;
    const close = () => row.classList.contains("is-open") && this.#toggle(row, more, id, title);
    const menu = element("div", { class: "openrouter-list__menu", role: "group" });
    menu.setAttribute("aria-label", strings.text("list.more", { title }));
    menu.append(
      this.#button("list.rename", () => this.#rename(row, menu, id, title)),
      this.#export("export_md", "list.markdown", id),
      this.#export("export_json", "list.json", id),
      this.#button("list.delete", () => this.#confirm(menu, id, more)),
    );
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      close();
      more.focus();
    });
    row.append(menu);
  }

  /** @param {string} key @param {() => void} act */
  #button(key, act) {
    const button = element("button", { type: "button", class: "openrouter-menu-item" }, this.strings.text(key));
    button.addEventListener("click", act);
    return button;
  }

  /** @param {string} address @param {string} key @param {string} id */
  #export(address, key, id) {
    const href = this.api.address(address, id);
    return element("a", { href, download: "", class: "openrouter-menu-item" }, this.strings.text(key));
  }

  /** @param {HTMLElement} row @param {HTMLElement} menu @param {string} id @param {string} title */
  #rename(row, menu, id, title) {
    const { strings } = this;
    const attributes = { type: "text", maxlength: "200", dir: "auto", "aria-label": strings.text("list.title") };
    const field = element("input", attributes);
    const save = element("button", { type: "submit", class: "openrouter-button" }, strings.text("list.save"));
    const form = element("form", { class: "openrouter-list__rename" }, field, save);
    field.value = title;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = field.value.trim();
      if (name) this.#change(this.api.rename(id, name), () => this.#renamed(row, id, name));
      else field.focus();
    });
    menu.replaceChildren(form);
    field.select();
    field.focus();
  }

  /** @param {HTMLElement} row @param {string} id @param {string} title */
  #renamed(row, id, title) {
    const made = this.#item({ ...this.#shown.find((known) => known.conversation === id), conversation: id, title });
    row.replaceWith(made);
    this.#rows.delete(id);
    if (this.#late) this.refresh(0);
    this.mark(this.#active);
    made.querySelector("a")?.focus();
    this.#tellTitle(id, title);
  }

  /** @param {string} conversation @param {unknown} title */
  #tellTitle(conversation, title) {
    this.dispatchEvent(new CustomEvent("titled", { detail: { conversation, title: asText(title) } }));
  }

  /** @param {HTMLElement} menu @param {string} id @param {HTMLElement} more */
  #confirm(menu, id, more) {
    const { strings } = this;
    const question = element("p", {}, strings.text("list.delete.question"));
    const keep = this.#button("list.keep", () => more.click());
    const remove = this.#button("list.delete.sure", () => this.#change(this.api.remove(id), () => this.#removed(id)));
    remove.classList.add("is-danger");
    keep.addEventListener("click", () => more.focus());
    menu.replaceChildren(question, remove, keep);
    keep.focus();
  }

  /** @param {string} id */
  #removed(id) {
    this.#link(id)?.closest("li")?.remove();
    this.fresh.focus();
    this.dispatchEvent(new CustomEvent("deleted", { detail: { conversation: id } }));
    this.refresh(0);
  }

  /** @param {Promise<unknown>} request @param {() => void} done */
  async #change(request, done) {
    try {
      await request;
      done();
    } catch (error) {
      this.dispatchEvent(new CustomEvent("problem", { detail: error }));
    }
  }

  #searched = () => this.refresh();

  /** Other tabs have gone on. */
  #seen = () => {
    if (document.visibilityState === "visible") this.refresh();
  };

  /** @param {Event} event */
  #submitted = (event) => {
    event.preventDefault();
    this.refresh(0);
  };

  /** @param {MouseEvent} event */
  #opened = (event) => {
    const link = /** @type {Element} */ (event.target).closest("a[data-conversation], [data-target=new]");
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!(link instanceof HTMLAnchorElement) || !isPlain) return;
    event.preventDefault();
    const conversation = link.dataset.conversation ?? null;
    this.dispatchEvent(new CustomEvent("open", { detail: { conversation } }));
  };
}
