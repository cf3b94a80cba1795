/**
 * The operations that make a JSON value grow (protocol rule 11): `add` and `append`, with
 * RFC 6901 paths, on plain values as `JSON.parse` makes them.
 *
 * Keys come from a model, so a key is only ever an *own* property: reading asks `Object.hasOwn`
 * first, writing defines. `__proto__` and `constructor` are names like any other here. An
 * operation that does not fit the value changes nothing and says so.
 *
 * @typedef {{op: string, path: string, value: unknown}} Operation
 */

const INDEX = /^(?:0|[1-9]\d*)$/;

/**
 * The reference tokens of a JSON pointer, or null where it is none.
 *
 * @param {unknown} pointer
 * @returns {string[] | null}
 */
export function parsePointer(pointer) {
  if (pointer === "") return [];
  if (typeof pointer !== "string" || !pointer.startsWith("/")) return null;
  return pointer.slice(1).split("/").map(unescapeToken);
}

/** @param {string} token */
function unescapeToken(token) {
  return token.includes("~") ? token.replace(/~[01]/g, (mark) => (mark === "~1" ? "/" : "~")) : token;
}

/**
 * The own member of an object or array that a token names; undefined where there is none.
 *
 * @param {any} value
 * @param {string} token
 * @returns {any}
 */
export function member(value, token) {
  if (typeof value !== "object" || value === null) return undefined;
  if (Array.isArray(value) && !INDEX.test(token)) return undefined;
  return Object.hasOwn(value, token) ? value[token] : undefined;
}

/**
 * Apply one operation to the value that stands in `holder[key]`. The holder makes the root of
 * the value a member like every other, so that `add ""` needs no case of its own.
 *
 * @param {object} holder
 * @param {string} key
 * @param {Operation} operation
 * @returns {boolean} whether the operation fitted
 */
export function applyOperation(holder, key, operation) {
  const tokens = parsePointer(operation?.path);
  const verb = VERBS.get(operation?.op);
  if (!tokens || !verb || operation.value === undefined) return false;
  const place = [key, ...tokens];
  const last = /** @type {string} */ (place.pop());
  return verb(place.reduce(member, holder), last, operation.value);
}

/** @type {Map<string, (parent: any, token: string, value: any) => boolean>} */
const VERBS = new Map([
  ["add", add],
  ["append", append],
]);

/** @param {any} parent @param {string} token @param {any} value */
function add(parent, token, value) {
  if (typeof parent !== "object" || parent === null) return false;
  if (Array.isArray(parent) && token !== String(parent.length)) return false;
  define(parent, token, value);
  return true;
}

/** @param {any} parent @param {string} token @param {any} value */
function append(parent, token, value) {
  const text = member(parent, token);
  if (typeof text !== "string" || typeof value !== "string") return false;
  define(parent, token, text + value);
  return true;
}

/** Assignment would run the setter that `Object.prototype` keeps under `__proto__`. */
/** @param {object} parent @param {string} token @param {unknown} value */
function define(parent, token, value) {
  Object.defineProperty(parent, token, { value, writable: true, enumerable: true, configurable: true });
}
