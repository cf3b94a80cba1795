/**
 * What this tab remembers across a reload: a few JSON values in `sessionStorage`. Where the
 * browser refuses to keep anything, it forgets, and nothing else changes.
 */
export class Memory {
  /** @param {string} prefix */
  constructor(prefix) {
    this.prefix = prefix;
  }

  /** @param {string} name @returns {any} undefined for what is not there */
  read(name) {
    try {
      return JSON.parse(sessionStorage.getItem(this.prefix + name) ?? "null") ?? undefined;
    } catch {
      return undefined;
    }
  }

  /** @param {string} name @param {unknown} value undefined to forget it */
  write(name, value) {
    try {
      if (value === undefined) sessionStorage.removeItem(this.prefix + name);
      else sessionStorage.setItem(this.prefix + name, JSON.stringify(value));
    } catch {
      // full, or not allowed
    }
  }
}
