/**
 * How the connection is: a word beside the form, and a banner once it needs somebody's patience
 * or hand. The style sheet lets the banner wait a moment, so that a short break shows nothing.
 */

import { element } from "./element.js";

export class ConnectionStatus {
  /**
   * @param {import("./connection.js").Connection} connection
   * @param {HTMLElement} root
   * @param {import("./strings.js").Strings} strings
   */
  constructor(connection, root, strings) {
    this.connection = connection;
    this.root = root;
    this.strings = strings;
    this.word = /** @type {HTMLElement} */ (root.querySelector("[data-target=connection]"));
    this.banner = /** @type {HTMLElement} */ (root.querySelector("[data-target=banner]"));
  }

  connect() {
    this.connection.addEventListener("status", this.#show);
    this.#show();
  }

  disconnect() {
    this.connection.removeEventListener("status", this.#show);
  }

  #show = () => {
    const { status } = this.connection;
    const { strings } = this;
    this.root.classList.toggle("is-away", status !== "ready"); // nothing moves that does not come
    this.word.dataset.status = status;
    this.word.textContent = strings.text(`connection.${status}`);
    const text = status === "connecting" && !this.banner.hidden ? "banner.waiting" : `banner.${status}`;
    this.banner.hidden = !strings.has(text);
    if (this.banner.hidden || this.banner.dataset.text === text) return;
    this.banner.dataset.text = text;
    this.banner.replaceChildren(element("p", {}, strings.text(text)));
    if (this.connection.dead) this.banner.append(this.#reload());
  };

  #reload() {
    const text = this.strings.text("reload");
    const button = element("button", { type: "button", class: "openrouter-button" }, text);
    button.addEventListener("click", () => location.reload());
    return button;
  }
}
