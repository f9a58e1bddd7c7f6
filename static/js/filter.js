// The filter field of a list: completion while you type, as a combobox that works by keyboard.
//
//   <form class="filter" role="search" action="/events" data-filter data-complete="/complete/events">
//     <label class="visually-hidden" for="filter">Filter events</label>
//     <input id="filter" name="filter" type="search" value="{{ filter }}" data-search autocomplete="off" spellcheck="false">
//     <p class="problem" role="alert">{{ problem }}</p>          (may be absent or empty)
//   </form>
//
// `data-complete` answers GET ?text=…&cursor=… with {"suggestions": [{"text", "start", "end", "help"}], "problem": "…"|null}
// (eventconsole/pages/completion.py makes that of a filters.Language). `data-search` lets `/` find the field.
// Enter without a chosen suggestion dispatches `filter:apply` on the form, with {text}; unless a module of the page
// prevents it, the form is sent, so lists of the server need no more than this. setFilter(form, text) writes from outside,
// addTerm(form, "status:failed") adds or takes away a term. With Shift, Enter is always what it is without a list.
const PATIENCE = 60; // ms without a key before asking
const PROBLEM_PATIENCE = 900;

class Field {
  constructor(form) {
    this.form = form;
    this.input = form.querySelector("input");
    this.url = form.dataset.complete;
    this.known = new Map();
    this.found = [];
    this.at = -1;
    this.list = document.createElement("ul");
    this.list.className = "completion";
    this.list.id = `${this.input.id}-completion`;
    this.list.setAttribute("role", "listbox");
    this.list.setAttribute("aria-label", "Completions");
    this.list.hidden = true;
    this.input.after(this.list);
    this.problem = form.querySelector(".problem") || this.input.parentElement.appendChild(Object.assign(document.createElement("p"), { className: "problem" }));
    this.problem.id ||= `${this.input.id}-problem`;
    this.problem.setAttribute("role", "alert");
    const attributes = { role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": this.list.id, "aria-describedby": this.problem.id, autocomplete: "off", autocapitalize: "off" };
    for (const [name, value] of Object.entries(attributes)) this.input.setAttribute(name, value);
    this.say(this.problem.textContent.trim());
    this.listen();
  }

  listen() {
    const input = this.input;
    input.addEventListener("input", () => this.later());
    input.addEventListener("click", () => this.later());
    input.addEventListener("keydown", (event) => this.key(event));
    input.addEventListener("blur", () => this.close());
    // Before the field loses the focus.
    this.list.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const option = event.target.closest("[role=option]");
      if (option) this.choose(Number(option.dataset.index));
    });
    this.form.addEventListener("submit", (event) => { event.preventDefault(); this.apply(); });
    // The cross of a search field empties it without a key.
    input.addEventListener("search", () => { if (input.value === "") this.apply(); });
  }

  key(event) {
    if (event.isComposing) return;
    // A list for what stood there before would complete the wrong characters.
    const isOpen = !this.list.hidden && this.listed === this.input.value;
    switch (event.key) {
      case "ArrowDown":
        if (!isOpen) this.ask().then(() => { if (this.found.length) this.mark(0); }); else this.mark((this.at + 1) % this.found.length);
        break;
      case "ArrowUp":
        if (!isOpen) return;
        this.mark(this.at <= 0 ? this.found.length - 1 : this.at - 1);
        break;
      case "Tab":
        if (!isOpen || this.at < 0 || event.shiftKey) return;
        this.choose(this.at);
        break;
      case "Enter":
        if (isOpen && this.at >= 0 && !event.shiftKey) this.choose(this.at); else this.apply();
        break;
      case "Escape":
        if (this.list.hidden) return;
        this.close();
        break;
      default: return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  later() {
    clearTimeout(this.timer);
    this.say("");
    this.timer = setTimeout(() => this.ask(), PATIENCE);
  }

  async ask() {
    clearTimeout(this.timer);
    clearTimeout(this.problemTimer);
    const text = this.input.value;
    const cursor = this.input.selectionEnd ?? text.length;
    const key = `${cursor} ${text}`;
    let answer = this.known.get(key);
    if (!answer) {
      this.asking?.abort();
      this.asking = new AbortController();
      try {
        const response = await fetch(`${this.url}?${new URLSearchParams({ text, cursor })}`, { signal: this.asking.signal, credentials: "same-origin" });
        if (!response.ok) return this.close();
        answer = await response.json();
      } catch (error) {
        if (error.name !== "AbortError") this.close(); // the next key asks again; typing goes on without it
        return;
      }
      if (this.known.size > 200) this.known.clear();
      this.known.set(key, answer);
    }
    if (document.activeElement !== this.input || this.input.value !== text) return;
    // While somebody types a filter is often wrong: it is said when they rest.
    if (answer.problem) this.problemTimer = setTimeout(() => { if (this.input.value === text) this.say(answer.problem); }, PROBLEM_PATIENCE);
    this.show(answer.suggestions || []);
  }

  show(found) {
    const text = this.listed = this.input.value;
    const marked = this.found[this.at]?.text;
    // What stands there already needs no suggestion.
    this.found = found.filter((one) => text.slice(one.start, one.end) !== one.text);
    this.list.replaceChildren(...this.found.map((one, index) => {
      const option = document.createElement("li");
      option.id = `${this.list.id}-${index}`;
      option.dataset.index = index;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      const word = document.createElement("span");
      word.className = "foreign";
      word.textContent = one.text;
      const help = document.createElement("span");
      help.className = "muted";
      help.textContent = one.help || "";
      option.append(word, help);
      return option;
    }));
    this.at = -1;
    this.input.removeAttribute("aria-activedescendant");
    this.list.hidden = this.found.length === 0;
    this.input.setAttribute("aria-expanded", String(!this.list.hidden));
    const again = marked === undefined ? -1 : this.found.findIndex((one) => one.text === marked);
    if (again >= 0) this.mark(again);
  }

  mark(index) {
    this.at = index;
    [...this.list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === index)));
    const chosen = this.list.children[index];
    if (!chosen) return;
    this.input.setAttribute("aria-activedescendant", chosen.id);
    chosen.scrollIntoView({ block: "nearest" });
  }

  choose(index) {
    const { text, start, end } = this.found[index];
    const isValue = !text.endsWith(":");
    const after = this.input.value.slice(end);
    const space = isValue && !after.startsWith(" ") ? " " : "";
    this.input.value = this.input.value.slice(0, start) + text + space + after;
    const cursor = start + text.length + (isValue ? 1 : 0);
    this.input.setSelectionRange(cursor, cursor);
    this.close();
    if (!isValue) this.ask(); // its values
  }

  close() {
    clearTimeout(this.timer);
    this.found = [];
    this.at = -1;
    this.list.hidden = true;
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  say(problem) {
    clearTimeout(this.problemTimer);
    this.problem.textContent = problem;
    this.problem.hidden = !problem;
    if (problem) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }

  apply() {
    this.close();
    this.asking?.abort();
    const text = this.input.value.trim();
    const event = new CustomEvent("filter:apply", { bubbles: true, cancelable: true, detail: { text } });
    if (this.form.dispatchEvent(event)) this.form.submit();
  }
}

const fields = new WeakMap();

/** Write a filter into the field; `apply` also puts it into effect. */
export function setFilter(form, text, { apply = true } = {}) {
  const field = fields.get(form);
  field.input.value = text;
  field.say("");
  if (apply) field.apply();
}

/** Add a term, in place of the others of its field; once more takes it away. */
export function addTerm(form, term) {
  const name = term.slice(0, term.indexOf(":") + 1);
  const terms = (form.querySelector("input").value.match(/(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+/g) || []);
  const others = terms.filter((one) => !name || !one.startsWith(name));
  setFilter(form, (terms.includes(term) ? others : [...others, term]).join(" "));
}

/** Say what is wrong with the filter, below the field; empty text takes it back. */
export function sayProblem(form, problem) {
  fields.get(form).say(problem);
}

export function makeFilters(root = document) {
  for (const form of root.querySelectorAll("form[data-filter]")) if (!fields.has(form)) fields.set(form, new Field(form));
}
makeFilters();
