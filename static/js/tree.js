// Payloads: as a tree that folds, raw, and to copy. Text nodes only: every payload is somebody else's.
//
// The server gives the text, at most 64 kB of it, escaped like any text; this module makes the rest around it:
//
//   <div data-payload="data" data-size="1048576" data-all="/events/…/payload.txt">   data-payload: its name for who can't see
//     <pre class="code foreign">{{ text }}</pre>                                     data-size: bytes of the whole
//   </div>                                                                           data-all: only when the text is cut off;
//                                                                                      answers text/plain with the whole
//
// Text that isn't JSON stays raw. What comes in later (htmx) is found by itself; else call showPayloads(element).
// Load `css/payload.css` beside it.
import { copyText } from "./copy.js";
import { parse } from "./json.js";
import { notice } from "./notices.js";

const STEP = 100; // children shown at once
const OPENED = 40; // children of what is open from the start
const MOST_OPENED = 2000; // nodes that "Open all" opens
const CUT = 400; // characters of a text
const CHUNK = 16384; // characters of the raw text that are laid out together
// Marks that would turn or hide what stands around them are shown by their code.
const HIDDEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\u{e0000}-\u{e007f}]/gu;

function make(name, className = "", text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

function button(label, run) {
  const element = make("button", "button small quiet", label);
  element.type = "button";
  element.addEventListener("click", run);
  return element;
}

function bytes(count) {
  if (count < 1000) return `${count} B`;
  return count < 1e6 ? `${(count / 1000).toFixed(1)} kB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** Text as JSON writes it, with characters that can't be seen by their code. */
function visible(text) {
  return JSON.stringify(text).replace(HIDDEN, (found) => {
    const code = found.codePointAt(0).toString(16).padStart(4, "0");
    return code.length > 4 ? `\\u{${code}}` : `\\u${code}`;
  });
}

function leaf(value) {
  if (value.kind === "none") return make("span", "none", "null");
  if (value.kind === "plain") return make("span", "plain", value.text);
  const shown = make("span", "text foreign");
  if (value.text.length <= CUT) {
    shown.textContent = visible(value.text);
    return shown;
  }
  const words = make("span", "", `${visible(value.text.slice(0, CUT)).slice(0, -1)}…`);
  const more = button(`all ${value.text.length.toLocaleString("en")} characters`, () => {
    words.textContent = visible(value.text);
    more.remove();
  });
  shown.append(words, more);
  return shown;
}

const children = (value) => (value.kind === "object" ? value.pairs : value.items.map((item, index) => [index, item]));

function count(value) {
  const n = value.kind === "object" ? value.pairs.length : value.items.length;
  const [one, many] = value.kind === "object" ? ["field", "fields"] : ["item", "items"];
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}${value.open ? " up to the cut" : ""}`;
}

function name(key) {
  return typeof key === "number" ? make("span", "index", `${key}`) : make("span", "name foreign", visible(key).slice(1, -1));
}

function node(key, value) {
  if (value.kind !== "object" && value.kind !== "list") {
    const line = make("div", "leaf");
    if (key !== null) line.append(name(key), make("span", "colon", ": "));
    line.append(leaf(value));
    return line;
  }
  const details = make("details");
  const summary = make("summary");
  if (key !== null) summary.append(name(key), make("span", "colon", " "));
  summary.append(make("span", "none", `${value.kind === "object" ? "{" : "["}${count(value)}${value.kind === "object" ? "}" : "]"}`));
  details.append(summary);
  details.unfold = () => {
    if (details.unfolded) return;
    details.unfolded = true;
    const box = make("div", "nested");
    details.append(box);
    grow(box, children(value), 0);
  };
  details.addEventListener("toggle", () => { if (details.open) details.unfold(); });
  return details;
}

function grow(box, all, from) {
  for (const [key, value] of all.slice(from, from + STEP)) box.append(node(key, value));
  const left = all.length - from - STEP;
  if (left <= 0) return;
  const more = button(`${Math.min(left, STEP)} more of ${all.length.toLocaleString("en")}`, () => {
    const last = box.lastElementChild.previousElementSibling;
    more.remove();
    grow(box, all, from + STEP);
    (last?.nextElementSibling?.querySelector("summary") || box.querySelector(":scope > button"))?.focus();
  });
  box.append(more);
}

function unfold(details) {
  details.unfold();
  details.open = true;
}

/** Open what fits on a screen, so that a small payload is seen at once. */
function openFirst(root) {
  let shown = 0;
  let level = root instanceof HTMLDetailsElement ? [root] : [];
  while (level.length && shown < OPENED) {
    const next = [];
    for (const details of level) {
      if (shown >= OPENED) break;
      unfold(details);
      const box = details.lastElementChild;
      shown += box.childElementCount;
      next.push(...box.querySelectorAll(":scope > details"));
    }
    level = next;
  }
}

function openAll(root) {
  let opened = 0;
  const queue = [...root.querySelectorAll("details")];
  while (queue.length) {
    const details = queue.shift();
    if (++opened > MOST_OPENED) {
      notice(`The first ${MOST_OPENED.toLocaleString("en")} are open; more at once would make the page slow. Open others one by one.`);
      return;
    }
    const isNew = !details.unfolded;
    unfold(details);
    if (isNew) queue.push(...details.lastElementChild.querySelectorAll(":scope > details"));
  }
}

function walk(tree, event) {
  const summary = event.target.closest("summary");
  if (!summary || event.altKey || event.ctrlKey || event.metaKey) return;
  const details = summary.parentElement;
  const all = () => [...tree.querySelectorAll("summary")].filter((one) => one.checkVisibility?.() ?? one.offsetParent !== null);
  const step = (by) => { const list = all(); list[list.indexOf(summary) + by]?.focus(); };
  switch (event.key) {
    case "ArrowRight": if (details.open) step(1); else unfold(details); break;
    case "ArrowLeft": if (details.open) details.open = false; else details.parentElement.closest("details")?.querySelector("summary").focus(); break;
    case "ArrowDown": step(1); break;
    case "ArrowUp": step(-1); break;
    default: return;
  }
  event.preventDefault();
  event.stopPropagation();
}

/** In pieces, so that the browser lays out only what is seen. */
function raw(text) {
  const box = make("pre", "code foreign raw");
  box.tabIndex = 0;
  for (let at = 0; at < text.length || at === 0; at += CHUNK) box.append(make("span", text.length > CHUNK ? "chunk" : "", text.slice(at, at + CHUNK)));
  return box;
}

class Payload {
  constructor(element) {
    this.element = element;
    this.text = element.querySelector("pre")?.textContent ?? "";
    this.name = element.dataset.payload || "payload";
    this.all = element.dataset.all || "";
    this.build();
  }

  build() {
    const parsed = parse(this.text);
    const isTree = parsed.value !== null && (parsed.end === "" || (parsed.end === "cut" && this.all !== ""));
    const panes = make("div", "panes");
    const bar = make("div", "toolbar payload-bar");
    if (isTree) {
      this.tree = make("div", "tree");
      this.tree.addEventListener("keydown", (event) => walk(this.tree, event));
      this.tree.append(node(null, parsed.value));
      openFirst(this.tree.firstElementChild);
      bar.append(this.choices(panes));
      bar.append(this.onlyTree(button("Open all", () => openAll(this.tree))), this.onlyTree(button("Fold all", () => {
        for (const one of this.tree.querySelectorAll("details")) one.open = false;
      })));
    } else bar.append(make("span", "muted small", parsed.end && parsed.end !== "cut" ? `Not JSON: ${parsed.end}` : "Raw"));
    bar.append(make("span", "spring"), this.copy());
    if (this.all) this.element.prepend(this.whole());
    this.element.replaceChildren(...this.element.querySelectorAll(":scope > .payload-cut"), bar, panes);
    this.panes = panes;
    this.show(isTree ? "tree" : "raw");
  }

  onlyTree(element) {
    element.dataset.onlyTree = "";
    return element;
  }

  choices(panes) {
    const group = make("div", "button-group");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", `Show ${this.name} as`);
    for (const [kind, label] of [["tree", "Tree"], ["raw", "Raw"]]) {
      const one = make("button", "button small", label);
      one.type = "button";
      one.dataset.kind = kind;
      one.addEventListener("click", () => this.show(kind));
      group.append(one);
    }
    return group;
  }

  show(kind) {
    this.panes.replaceChildren(kind === "tree" ? this.tree : (this.raw ??= this.labelled(raw(this.text))));
    for (const one of this.element.querySelectorAll("[data-kind]")) one.setAttribute("aria-pressed", String(one.dataset.kind === kind));
    for (const one of this.element.querySelectorAll("[data-only-tree]")) one.hidden = kind !== "tree";
  }

  labelled(element) {
    element.setAttribute("role", "region");
    element.setAttribute("aria-label", `${this.name}, raw`);
    return element;
  }

  copy() {
    const element = button(this.all ? "Copy what is shown" : "Copy", async () => {
      try {
        await copyText(this.text);
        element.textContent = "Copied";
      } catch {
        element.textContent = "The browser doesn't allow copying";
      }
      setTimeout(() => { element.textContent = this.all ? "Copy what is shown" : "Copy"; }, 1500);
    });
    return element;
  }

  whole() {
    const line = make("p", "payload-cut small");
    const size = Number(this.element.dataset.size || 0);
    line.append(make("span", "", `The first ${bytes(new Blob([this.text]).size)}${size ? ` of ${bytes(size)}` : ""}. `));
    const load = button(`Load all${size ? ` ${bytes(size)}` : ""}`, async () => {
      load.disabled = true;
      load.textContent = "Loading…";
      try {
        this.text = await fetchText(this.all);
        this.all = "";
        this.raw = null;
        line.remove();
        this.build();
        this.element.querySelector("button")?.focus();
      } catch (error) {
        load.disabled = false;
        load.textContent = "Load all";
        notice(error.message, { tone: "bad" });
      }
    });
    load.className = "button small";
    line.append(load);
    return line;
  }
}

async function fetchText(url) {
  let response;
  try {
    response = await fetch(url, { credentials: "same-origin" });
  } catch {
    throw new Error("The server can't be reached. Try again in a moment.");
  }
  if (response.ok) return response.text();
  const said = await response.json().catch(() => ({}));
  throw new Error(said.detail || `The server answered ${response.status}. Try again in a moment.`);
}

/** Make payloads of what is there now. */
export function showPayloads(root = document) {
  for (const element of root.querySelectorAll("[data-payload]:not([data-shown])")) {
    element.dataset.shown = "";
    new Payload(element);
  }
}

showPayloads();
for (const name of ["htmx:afterSettle", "htmx:oobAfterSwap", "live:fragment"]) document.addEventListener(name, () => showPayloads());
