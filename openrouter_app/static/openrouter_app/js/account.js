/**
 * The account's page brings its figures up to date: once, when somebody looks at it, and only where the
 * server says that they are old. It does what the button "Check again" does, which stays.
 */

const LONGEST = 30_000; // milliseconds

const form = document.querySelector("form[data-target=check]");
const status = document.querySelector("[data-target=status]");

if (form instanceof HTMLFormElement && status instanceof HTMLElement) {
  if (document.visibilityState === "visible") check(form, status);
  else document.addEventListener("visibilitychange", () => check(form, status), { once: true });
}

/** @param {HTMLFormElement} form @param {HTMLElement} status what is said of it, quietly */
async function check(form, status) {
  const { checking = "", checked = "", failed = "" } = status.dataset;
  status.textContent = checking;
  const answer = await ask(form).catch(() => null);
  if (answer?.facts === null) return location.reload(); // the key is gone, and the page says why
  for (const [name, text] of Object.entries(answer?.facts ?? {})) show(name, String(text));
  status.textContent = answer ? answer.problem || checked : failed;
}

/** The token is in the body, which goes along to no page that it may be led to. */
/** @param {HTMLFormElement} form @returns {Promise<any>} */
async function ask(form) {
  const response = await fetch(new URL(form.getAttribute("action") ?? "", location.href), {
    method: "POST",
    body: new URLSearchParams(/** @type {any} */ (new FormData(form))),
    headers: { Accept: "application/json" },
    credentials: "same-origin",
    signal: AbortSignal.timeout(LONGEST),
  });
  if (!response.ok || response.redirected) throw new Error(`The account cannot be checked (${response.status}).`);
  return response.json();
}

/** @param {string} name @param {string} text "" for what OpenRouter does not say */
function show(name, text) {
  const row = document.querySelector(`[data-fact="${CSS.escape(name)}"]`);
  const place = row?.querySelector("dd");
  if (!(row instanceof HTMLElement) || !place) return;
  row.hidden = !text;
  place.textContent = text;
}
