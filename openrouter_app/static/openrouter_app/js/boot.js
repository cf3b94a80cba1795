/** Brings a chain's page to life. What the page needs to know stands in the page itself. */

import { ChainPage } from "./chain-page.js";
import { Strings } from "./strings.js";

const root = document.querySelector("[data-openrouter-chain]");
const config = JSON.parse(document.getElementById("openrouter-config")?.textContent ?? "null");

if (root instanceof HTMLElement && config) {
  /** @type {HTMLTemplateElement | null} */
  const words = document.querySelector("template[data-openrouter-strings]");
  const page = new ChainPage(root, config, new Strings(words, document.documentElement.lang));
  page.connect();
  addEventListener("pagehide", () => page.disconnect());
  addEventListener("pageshow", (event) => event.persisted && page.connect());
}
