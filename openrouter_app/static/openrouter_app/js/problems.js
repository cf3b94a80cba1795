/** What is said of an error: what happened, and what one can do about it. */

import { asText } from "./value-view.js";

/** @typedef {import("./strings.js").Strings} Strings */

/**
 * What the server says; where it has no words, this page's own for the code.
 *
 * @param {any} error
 * @param {Strings} strings
 */
export function complaint({ code, message }, strings) {
  return asText(message) || strings.first([`error.${asText(code)}`, "error"]);
}

/**
 * What helps, of a run that came to no good end; "" where nobody knows.
 *
 * @param {any} error
 * @param {Strings} strings
 * @param {boolean} [account] whether an account of one's own is offered beside it
 * @param {unknown} [payer] whose account it was that failed
 */
export function advice({ code, retryable, details }, strings, account = false, payer = "site") {
  if (account && payer === "user") return strings.first([`advice.own.${asText(code)}`]);
  if (account && strings.has("advice.account")) return strings.text("advice.account");
  const seconds = Number(details?.retry_after);
  if (retryable === true && seconds > 0) {
    return strings.text("advice.retry_after", { time: strings.duration(seconds) });
  }
  return strings.first([`advice.${asText(code)}`, retryable === true ? "advice.retry" : "advice"]);
}

/**
 * How many tokens of answer the account can pay for, where the one asked for was too long for it; else 0.
 *
 * @param {any} error
 */
export function affordableTokens({ code, details }) {
  const tokens = details?.affordable_tokens;
  return code === "credit" && Number.isSafeInteger(tokens) && tokens > 0 ? Number(tokens) : 0;
}
