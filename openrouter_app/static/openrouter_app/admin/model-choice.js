// The field of a chain's model in the admin: a combobox (ARIA 1.2) over the catalogue. What is typed stays
// what is typed: the list only suggests. Without this module the input has a <datalist>.

const PATIENCE = 150; // milliseconds of rest before the server is asked

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

class ModelChoice {
  constructor(root) {
    this.root = root;
    this.input = root.querySelector("input");
    this.known = root.querySelector(".openrouter-model-known");
    this.options = [];
    this.active = -1;
    this.asked = 0;
    this.list = element("ul", "openrouter-model-list");
    this.list.id = `${this.input.id}_list`;
    this.list.hidden = true;
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", root.dataset.list);
    this.status = element("span", "visually-hidden");
    this.status.setAttribute("role", "status");
    root.querySelector("datalist")?.remove();
    this.input.removeAttribute("list");
    this.input.after(this.list, this.status);
    for (const [name, value] of [
      ["role", "combobox"],
      ["aria-autocomplete", "list"],
      ["aria-controls", this.list.id],
      ["aria-expanded", "false"],
    ]) {
      this.input.setAttribute(name, value);
    }
    this.input.addEventListener("input", () => this.ask(this.input.value, PATIENCE));
    this.input.addEventListener("click", () => this.isOpen || this.ask("", 0));
    this.input.addEventListener("blur", () => this.close());
    this.input.addEventListener("keydown", (event) => this.press(event));
    // before the input loses the focus, and the list with it
    this.list.addEventListener("mousedown", (event) => event.preventDefault());
    this.list.addEventListener("click", (event) => {
      const item = event.target.closest("[role=option]");
      if (item) this.choose(this.items.indexOf(item));
    });
  }

  get isOpen() {
    return !this.list.hidden;
  }

  get items() {
    return [...this.list.children];
  }

  /** Search after a rest; an answer that was overtaken by a later question is dropped. */
  ask(text, rest) {
    const number = (this.asked += 1);
    clearTimeout(this.timer);
    this.timer = setTimeout(async () => {
      let found = null;
      try {
        const answer = await fetch(`${this.root.dataset.search}?${new URLSearchParams({ q: text })}`, {
          headers: { accept: "application/json" },
        });
        if (answer.ok) found = await answer.json();
      } catch {
        // said below
      }
      if (number !== this.asked) return;
      if (!found) return this.fail();
      // what is asked is not always what stands in the field
      if (text === this.input.value) this.known.textContent = found.known;
      this.show(found.models);
    }, rest);
  }

  show(found) {
    const { one, many, none } = this.root.dataset;
    this.options = found;
    this.list.replaceChildren(...found.map((option, index) => this.item(option, index)));
    this.activate(-1);
    if (found.length && document.activeElement === this.input) this.open();
    else this.close();
    this.say(found.length > 1 ? many.replace("{count}", found.length) : found.length ? one : none);
  }

  /** What stands there is of another text: it goes, and everybody is told why, not only who listens. */
  fail() {
    this.close();
    this.known.textContent = this.root.dataset.failed;
    this.say(this.root.dataset.failed);
  }

  say(text) {
    this.status.textContent = text;
  }

  item(option, index) {
    const item = element("li", "openrouter-model-option");
    item.id = `${this.list.id}_${index}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", "false");
    item.append(element("span", "openrouter-model-slug", option.slug), " ");
    item.append(element("span", "openrouter-model-labels", option.labels.join(" · ")));
    return item;
  }

  open() {
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", "true");
  }

  close() {
    this.asked += 1; // what is under way would open it again
    clearTimeout(this.timer);
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.activate(-1);
  }

  activate(index) {
    this.active = index;
    this.items.forEach((item, at) => item.setAttribute("aria-selected", String(at === index)));
    const item = this.items[index];
    if (item) {
      this.input.setAttribute("aria-activedescendant", item.id);
      item.scrollIntoView({ block: "nearest" });
    } else {
      this.input.removeAttribute("aria-activedescendant");
    }
  }

  choose(index) {
    const option = this.options[index];
    if (!option) return;
    this.input.value = option.slug;
    this.known.textContent = option.labels.join(" · ");
    this.close();
    this.input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  press(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey) return;
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      if (!this.isOpen) this.ask(event.altKey ? this.input.value : "", 0);
      else if (event.altKey && by < 0) this.close();
      else this.activate(this.next(by));
    } else if (event.key === "Enter" && this.isOpen && this.active >= 0) {
      event.preventDefault(); // chosen, not sent
      this.choose(this.active);
    } else if (event.key === "Escape" && this.isOpen) {
      event.preventDefault();
      this.close();
    }
  }

  /** From the last one on to the input, which is -1, and from there to the first; or the other way. */
  next(by) {
    const places = this.items.length + 1;
    return ((this.active + 1 + by + places) % places) - 1;
  }
}

for (const root of document.querySelectorAll(".openrouter-model[data-search]:not([data-search=''])")) {
  if (root.querySelector("input")) new ModelChoice(root);
}
