/**
 * What an answer took, as small facts: model, provider, tokens, cost, time, version. A fact that
 * nobody knows is left out.
 */

import { element } from "./element.js";

/**
 * @param {any} state
 * @param {Strings} strings
 * @returns {Generator<HTMLElement>}
 */
export function* usageLine({ usage, version, payer }, strings) {
  for (const [name, read] of FACTS) {
    const text = read(usage ?? {}, strings, { version, payer });
    if (!text) continue;
    const title = strings.text(`usage.${name}`);
    const label = element("span", { class: "openrouter-hidden" }, `${title}: `);
    yield element("span", { "data-fact": name, title }, label, element("bdi", {}, text));
  }
}

/** @typedef {import("./strings.js").Strings} Strings */

/** @type {[string, (usage: any, strings: Strings, run: { version: unknown, payer: unknown }) => string | null][]} */
const FACTS = [
  ["model", ({ model }) => word(model)],
  ["provider", ({ provider }) => word(provider)],
  [
    "tokens",
    ({ prompt_tokens: read, completion_tokens: written }, strings) =>
      count(read) && count(written)
        ? strings.text("usage.tokens.text", { read: strings.number(read), written: strings.number(written) })
        : null,
  ],
  ["cost", ({ cost, estimated }, strings) => money(cost, estimated === true, strings)],
  [
    "payer",
    ({ cost }, strings, { payer }) =>
      payer === "user" && typeof cost === "string" ? strings.text("usage.payer.user") : null,
  ],
  ["time", ({ ms }, strings) => (count(ms) ? strings.seconds(ms) : null)],
  [
    "version",
    (_, strings, { version }) =>
      count(version) ? strings.text("usage.version.text", { version: `${version}` }) : null,
  ],
];

/** @param {unknown} value */
const word = (value) => (typeof value === "string" ? value : null);

/** @param {unknown} value */
const count = (value) => Number.isSafeInteger(value) && Number(value) > 0;

/** A decimal string of US dollars, often far below a cent. */
/** @param {unknown} cost @param {boolean} estimated @param {Strings} strings */
function money(cost, estimated, strings) {
  const dollars = typeof cost === "string" ? Number(cost) : NaN;
  if (!Number.isFinite(dollars)) return null;
  const text = strings.number(dollars, { style: "currency", currency: "USD", maximumSignificantDigits: 3 });
  return estimated ? strings.text("usage.cost.estimated", { cost: text }) : text;
}
