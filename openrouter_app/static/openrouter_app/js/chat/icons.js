/** The pictures on the buttons: lines in the text's colour, and nothing for who listens. */

import { element } from "../element.js";

const SVG = "http://www.w3.org/2000/svg";

/** @type {Record<string, string>} */
const PATHS = {
  again: "M4.5 12a7.5 7.5 0 0 1 13-5.1L20 9.5M20 4v5.5h-5.5M19.5 12a7.5 7.5 0 0 1-13 5.1L4 14.5M4 20v-5.5h5.5",
  check: "M5 12.5 10 17.5 19.5 7",
  copy: "M9 9h10.5v10.5H9zM15 9V4.5H4.5V15H9",
  edit: "M4 20l1-4.5L16.5 4 20 7.5 8.5 19 4 20zM14 6.5 17.5 10",
  end: "M12 5v14M6 13l6 6 6-6",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  next: "M9.5 6l6 6-6 6",
  previous: "M14.5 6l-6 6 6 6",
};

/** @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("openrouter-icon");
  svg.dataset.icon = name;
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/**
 * A button that is only a picture; its name is said and shown by the browser.
 *
 * @param {string} name of the picture
 * @param {string} label
 * @param {() => void} act
 */
export function iconButton(name, label, act) {
  const attributes = { type: "button", class: "openrouter-icon-button", "aria-label": label, title: label };
  const button = element("button", attributes, icon(name));
  button.addEventListener("click", () => button.getAttribute("aria-disabled") === "true" || act());
  return button;
}
