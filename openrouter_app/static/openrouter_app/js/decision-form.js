/**
 * Approve or deny a tool call that waits for it, with a reason that the model is told. Where staff
 * has to decide, only a sentence says so. What is decided leaves as a bubbling `decide` event
 * {call, approve, reason}.
 *
 * It is no form: Enter in its field decides nothing, an approval wants a button. It is shown anew
 * whenever its card is; what somebody has begun to write stays.
 */

import { element } from "./element.js";
import { asText } from "./value-view.js";

export class DecisionForm {
  #call = "";

  /** @param {import("./strings.js").Strings} strings */
  constructor(strings) {
    this.strings = strings;
    this.question = element("p", { class: "openrouter-decision__question" });
    this.expiry = element("p", { class: "openrouter-decision__expiry" });
    this.reason = element("input", { type: "text", maxlength: "500", dir: "auto", autocomplete: "off" });
    this.approve = this.#button("approve", "is-primary");
    this.deny = this.#button("deny");
    this.problem = element("p", { class: "openrouter-card__problem", role: "alert", hidden: "" });
    const label = element("label", {}, element("span", {}, strings.text("approval.reason")), this.reason);
    this.choice = element(
      "div",
      { class: "openrouter-decision__choice" },
      label,
      element("div", { class: "openrouter-decision__buttons" }, this.approve, this.deny),
    );
    this.element = element(
      "div",
      { class: "openrouter-decision", role: "group", hidden: "" },
      this.question,
      this.choice,
      this.problem,
      this.expiry,
    );
  }

  /** @param {any} part a call */
  show(part) {
    const { strings } = this;
    const waits = part.status === "waiting";
    if (!waits && !this.element.hidden) this.#leave();
    this.element.hidden = !waits;
    if (!waits) return;
    const isStaffs = part.approval === "staff";
    this.#call = part.call;
    this.element.setAttribute("aria-label", strings.text("approval.label", { name: asText(part.name) }));
    this.question.textContent = strings.text(isStaffs ? "approval.staff" : "approval.question");
    this.choice.hidden = isStaffs;
    const expires = new Date(part.expires);
    const isKnown = !Number.isNaN(expires.getTime());
    this.expiry.hidden = !isKnown;
    if (isKnown) this.expiry.textContent = strings.text("approval.expires", { time: strings.moment(expires) });
  }

  /** Nothing came of it: it can be decided again. */
  /** @param {string} message */
  complain(message) {
    this.#setBusy(false);
    this.problem.textContent = message;
    this.problem.hidden = false;
  }

  /** The focus of whoever has just decided must not fall to the top of the page. */
  #leave() {
    if (!this.element.contains(document.activeElement)) return;
    /** @type {HTMLElement | null} */ (this.element.closest(".openrouter-card"))?.focus();
  }

  /** @param {"approve" | "deny"} what @param {string} [look] */
  #button(what, look = "") {
    const attributes = { type: "button", class: `openrouter-button ${look}`.trim() };
    const button = element("button", attributes, this.strings.text(`approval.${what}`));
    button.addEventListener("click", () => this.#decide(what === "approve"));
    return button;
  }

  /** @param {boolean} approve */
  #decide(approve) {
    if (this.approve.getAttribute("aria-disabled") === "true") return;
    this.#setBusy(true);
    this.problem.hidden = true;
    const detail = { call: this.#call, approve, reason: this.reason.value.trim() };
    this.element.dispatchEvent(new CustomEvent("decide", { detail, bubbles: true }));
  }

  /** @param {boolean} busy */
  #setBusy(busy) {
    for (const button of [this.approve, this.deny]) button.setAttribute("aria-disabled", String(busy));
  }
}
