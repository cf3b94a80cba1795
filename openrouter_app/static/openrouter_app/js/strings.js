/**
 * The words of the page, in the visitor's language. They come with the page: a `<template>` of
 * `<data value="key">text</data>`, so that they are translated, and overridden, where all other
 * text is.
 */
export class Strings {
  /** @type {Map<string, string>} */
  #texts = new Map();

  /**
   * @param {HTMLTemplateElement | null} template
   * @param {string} language for numbers, as in `<html lang>`
   */
  constructor(template, language) {
    this.language = language || "en";
    for (const data of template?.content.querySelectorAll("data") ?? []) {
      this.#texts.set(data.value, data.textContent.trim());
    }
  }

  /** @param {string} key */
  has(key) {
    return this.#texts.has(key);
  }

  /**
   * The text of a key, with `{name}` replaced by the value of that name. A key without a text is
   * shown itself: a gap in somebody's override should be seen, not break the page.
   *
   * @param {string} key
   * @param {Record<string, string>} [values]
   */
  text(key, values = {}) {
    const text = this.#texts.get(key) ?? key;
    return text.replace(/\{(\w+)\}/g, (mark, name) => values[name] ?? mark);
  }

  /**
   * The text for a number of things, of which there is one for each of the language's forms.
   *
   * @param {string} key
   * @param {number} count
   */
  plural(key, count) {
    const form = `${key}.${new Intl.PluralRules(this.language).select(count)}`;
    return this.text(this.has(form) ? form : `${key}.other`, { count: this.number(count) });
  }

  /**
   * The text of the first of these keys that has one, "" where none has.
   *
   * @param {string[]} keys
   */
  first(keys) {
    const key = keys.find((name) => this.has(name));
    return key === undefined ? "" : this.text(key);
  }

  /** @param {number} number @param {Intl.NumberFormatOptions} [options] */
  number(number, options) {
    return new Intl.NumberFormat(this.language, options).format(number);
  }

  /** @param {number} seconds as one says it: "20 seconds", "3 minutes" */
  duration(seconds) {
    const [count, unit] = seconds < 100 ? [seconds, "second"] : [seconds / 60, "minute"];
    const options = { style: "unit", unit, unitDisplay: "long" };
    return this.number(Math.ceil(count), /** @type {Intl.NumberFormatOptions} */ (options));
  }

  /** @param {Date} date as a time of today, or with its day */
  moment(date) {
    const isToday = date.toDateString() === new Date().toDateString();
    const day = isToday ? undefined : /** @type {const} */ ("medium");
    return new Intl.DateTimeFormat(this.language, { dateStyle: day, timeStyle: "short" }).format(date);
  }

  /** @param {number} milliseconds */
  seconds(milliseconds) {
    const maximumFractionDigits = milliseconds < 10_000 ? 1 : 0;
    const unit = { style: "unit", unit: "second", unitDisplay: "narrow", maximumFractionDigits };
    return this.number(milliseconds / 1000, /** @type {Intl.NumberFormatOptions} */ (unit));
  }
}
