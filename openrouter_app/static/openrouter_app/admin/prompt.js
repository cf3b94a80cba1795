// The prompt template's page in the admin: lists the variables while one types, points at a stray
// brace, and moves messages up and down. Without it the page works the same: the list shows what is
// saved, the numbers give the order, and the server refuses the brace.

const PREFIX = "rows";
const TOKEN = /\{\{|\}\}|\{|\}/g;

/** The names in a template, or where its first stray brace is: the grammar of engine/prompts.py. */
export function read(template) {
  const names = [];
  TOKEN.lastIndex = 0;
  let found;
  while ((found = TOKEN.exec(template))) {
    if (found[0] === "}") return { names, stray: found.index, brace: "}" };
    if (found[0] !== "{") continue;
    const end = template.indexOf("}", found.index);
    const name = template.slice(found.index + 1, end);
    if (end < 0 || name.includes("{") || !name.trim()) return { names, stray: found.index, brace: "{" };
    names.push(name);
    TOKEN.lastIndex = end + 1;
  }
  return { names, stray: -1, brace: "" };
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

class Messages {
  constructor(group) {
    this.group = group;
    this.list = document.querySelector(".openrouter-variables");
    group.classList.add("openrouter-moves");
    for (const row of this.rows) this.adopt(row);
    group.addEventListener("input", () => this.refresh());
    group.addEventListener("change", () => this.refresh());
    document.addEventListener("formset:added", (event) => {
      if (event.detail?.formsetName !== PREFIX) return;
      this.adopt(event.target);
      this.refresh();
    });
    document.addEventListener("formset:removed", () => this.refresh());
    this.refresh();
  }

  get rows() {
    return [...this.group.querySelectorAll(".inline-related:not(.empty-form)")];
  }

  field(row, name) {
    return row.querySelector(`[name$="-${name}"]`);
  }

  /** Give a row its buttons and the line for a stray brace. */
  adopt(row) {
    if (row.querySelector(".openrouter-move")) return;
    const text = this.field(row, "text");
    if (!text) return; // a reader without the right to change sees text, no fields
    const buttons = element("span", "openrouter-move");
    for (const [by, sign] of [[-1, "↑"], [1, "↓"]]) {
      const button = element("button", "", sign);
      button.type = "button";
      button.dataset.by = by;
      button.title = this.list?.dataset[by < 0 ? "up" : "down"] ?? "";
      button.setAttribute("aria-label", button.title);
      button.addEventListener("click", () => this.move(row, by));
      buttons.append(button);
    }
    row.querySelector("h3, h4")?.append(buttons);
    const stray = element("div", "help openrouter-stray");
    stray.setAttribute("role", "status");
    (text.closest(".flex-container") ?? text).after(stray);
  }

  /** Exchange the contents with the neighbour's: the forms stay where they are, with their ids. */
  move(row, by) {
    const rows = this.rows;
    const other = rows[rows.indexOf(row) + by];
    if (!other) return;
    this.lendMark(row, other);
    this.lendMark(other, row);
    for (const name of ["role", "text", "DELETE"]) {
      const [one, two] = [this.field(row, name), this.field(other, name)];
      if (!one || !two) continue;
      const property = name === "DELETE" ? "checked" : "value";
      [one[property], two[property]] = [two[property], one[property]];
    }
    this.refresh();
    const button = other.querySelector(`[data-by="${by}"]`);
    (button?.disabled ? other.querySelector(`[data-by="${-by}"]`) : button)?.focus();
  }

  /** A new row has no box for "Delete": it gets one when a message so marked is about to move into it. */
  lendMark(from, to) {
    const mark = this.field(from, "DELETE");
    const text = this.field(to, "text");
    if (!mark?.checked || !text || this.field(to, "DELETE")) return;
    const copy = mark.closest(".delete").cloneNode(true);
    const [box, label] = [copy.querySelector("input"), copy.querySelector("label")];
    box.name = text.name.replace(/text$/, "DELETE");
    box.id = `id_${box.name}`;
    box.checked = false;
    label?.setAttribute("for", box.id);
    to.querySelector("h3, h4")?.append(copy);
  }

  refresh() {
    const rows = this.rows;
    const names = new Set();
    rows.forEach((row, index) => {
      const text = this.field(row, "text");
      if (!text) return;
      const place = this.field(row, "place");
      if (place) place.value = index + 1;
      row.querySelector('[data-by="-1"]').disabled = index === 0;
      row.querySelector('[data-by="1"]').disabled = index === rows.length - 1;
      const line = row.querySelector(".openrouter-stray");
      line.textContent = "";
      if (this.field(row, "DELETE")?.checked || this.field(row, "role")?.value === "messages_placeholder") return;
      const { names: found, stray, brace } = read(text.value);
      for (const name of found) names.add(name);
      // what the server said of this very text stands there already
      const told = text.value === text.defaultValue && text.closest(".form-row")?.querySelector(".errorlist");
      if (stray >= 0 && !told) line.textContent = this.strayText(text.value, stray, brace);
    });
    if (rows.some((row) => this.field(row, "text"))) this.show(names);
  }

  strayText(text, at, brace) {
    const before = [...text.slice(0, at)].join("").split("\n");
    const values = { line: before.length, column: [...before.at(-1)].length + 1, brace };
    return (this.list?.dataset.stray ?? "").replace(/\{(line|column|brace)\}/g, (_, name) => values[name]);
  }

  show(names) {
    if (!this.list) return;
    const items = [...names].map((name) => {
      const item = element("li");
      item.append(element("code", "", `{${name}}`));
      return item;
    });
    const before = this.list.textContent;
    const made = items.length ? items : [element("li", "", this.list.dataset.empty)];
    // only when it differs: a screen reader speaks every change
    if (made.map((item) => item.textContent).join("") !== before.replace(/\s*\n\s*/g, "")) {
      this.list.replaceChildren(...made);
    }
  }
}

const group = document.getElementById(`${PREFIX}-group`);
if (group) new Messages(group);
