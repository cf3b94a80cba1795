/** The way to an OpenRouter account of one's own, where that is what a run lacks. */

import { element } from "./element.js";

const LACKS = new Set(["needs_key", "key_rejected", "credit", "budget"]);

/**
 * A link that comes back to this page; null where an account would not help.
 *
 * @param {any} error
 * @param {string | null | undefined} account the address of the account's page, where the chain lets users pay
 * @param {import("./strings.js").Strings} strings
 * @param {unknown} [payer] whose account it was that failed
 */
export function accountOffer(error, account, strings, payer = "site") {
  if (!account || !(LACKS.has(error?.code) || error?.details?.connect === true)) return null;
  const url = new URL(account, location.href);
  url.searchParams.set("next", location.pathname + location.search);
  const isConnected = payer === "user" && error.code === "credit";
  const text = strings.text(isConnected ? "account.open" : "account.connect");
  return element("a", { class: "openrouter-offer", href: url.href }, text);
}
