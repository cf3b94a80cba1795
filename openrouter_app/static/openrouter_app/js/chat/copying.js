/** Buttons that copy: a message, or a block of code in it. */

import { element } from "../element.js";
import { icon, iconButton } from "./icons.js";

const SHOWN = 2_000; // milliseconds for "Copied"

/** @typedef {import("../strings.js").Strings} Strings */

/**
 * @param {Strings} strings
 * @param {string} label
 * @param {() => string} read the text, when somebody wants it
 */
export function copyButton(strings, label, read) {
  const button = iconButton("copy", label, async () => {
    const isCopied = await copy(read());
    say(button, isCopied ? strings.text("copied") : strings.text("copy.failed"), label);
    button.replaceChildren(icon(isCopied ? "check" : "copy"));
    setTimeout(() => {
      say(button, label, label);
      button.replaceChildren(icon("copy"));
    }, SHOWN);
  });
  return button;
}

/**
 * Give each block of code below these nodes its button.
 *
 * @param {Iterable<Node>} nodes
 * @param {Strings} strings
 */
export function addCodeButtons(nodes, strings) {
  for (const node of nodes) {
    if (!(node instanceof Element)) continue;
    const blocks = node.matches("pre") ? [node] : node.querySelectorAll(".openrouter-markdown pre");
    for (const block of blocks) {
      if (block.closest(".openrouter-code")) continue;
      const frame = element("div", { class: "openrouter-code" });
      block.replaceWith(frame);
      frame.append(block, copyButton(strings, strings.text("copy.code"), () => textOf(block)));
    }
  }
}

/** @param {Element} block */
const textOf = (block) => (block.textContent ?? "").replace(/\n$/, "");

/** @param {HTMLElement} button @param {string} text @param {string} label */
function say(button, text, label) {
  button.setAttribute("aria-label", text);
  button.title = text;
  button.classList.toggle("is-said", text !== label);
  if (text !== label) button.dispatchEvent(new CustomEvent("announce", { detail: text, bubbles: true }));
}

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyTheOldWay(text); // pages over plain http have no clipboard
  }
}

/** @param {string} text */
function copyTheOldWay(text) {
  const before = document.activeElement;
  const field = element("textarea", { class: "openrouter-hidden", readonly: "" });
  field.value = text;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  return isCopied;
}
