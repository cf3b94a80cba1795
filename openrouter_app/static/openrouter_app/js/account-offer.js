/** The way to an OpenRouter account of one's own, where that is what a run lacks. */

import { element } from "./element.js";

const LACKS = new Set(["needs_key", "key_rejected", "credit", "budget"]);

/**
 * A link that comes back to this page; null where an account would not help.
 *
 * @param {any} error
 * @param {string | null | undefined} account the address of the account's page, where the chain lets users pay
 * @param {import("./strings.js").Strings} strings
 */
export function accountOffer(error, account, strings) {
  if (!account || !(LACKS.has(error?.code) || error?.details?.connect === true)) return null;
  const url = new URL(account, location.href);
  url.searchParams.set("next", location.pathname + location.search);
  return element("a", { class: "openrouter-offer", href: url.href }, strings.text("account.connect"));
}
