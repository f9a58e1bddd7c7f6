// JSON read for showing it: numbers keep their digits, keys their order and their doubles, and a text that is cut off
// gives what stands before the cut. The browser's own reader does none of these.
//
// parse(text) → { value, end } where end is "" for a whole text, "cut" where it stops early, or what is wrong. A value is
// { kind: "object", pairs: [[key, value], …] } | { kind: "list", items: [value, …] } | { kind: "text", text } |
// { kind: "plain", text } (numbers, true, false) | { kind: "none" }; the first two have `open: true` when cut off.

const MOST_LEVELS = 1000;
const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;

class Stop extends Error {}

class Reader {
  constructor(text) {
    this.text = text;
    this.at = 0;
  }

  take(pattern) {
    pattern.lastIndex = this.at;
    const found = pattern.exec(this.text);
    if (!found) return null;
    this.at = pattern.lastIndex;
    return found[0];
  }

  peek() {
    this.take(SPACE);
    if (this.at >= this.text.length) throw new Stop("cut");
    return this.text[this.at];
  }

  wrong() {
    const before = this.text.slice(0, this.at);
    const line = before.split("\n").length;
    throw new Stop(`unexpected ${JSON.stringify(this.text.slice(this.at, this.at + 1))} in line ${line}, column ${this.at - before.lastIndexOf("\n")}`);
  }

  expect(character) {
    if (this.peek() !== character) this.wrong();
    this.at += 1;
  }

  string() {
    let end = this.at;
    let slashes;
    do {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) throw new Stop("cut");
      slashes = 0;
      while (this.text[end - 1 - slashes] === "\\") slashes += 1;
    } while (slashes % 2);
    try {
      const found = JSON.parse(this.text.slice(this.at, end + 1));
      this.at = end + 1;
      return found;
    } catch {
      return this.wrong();
    }
  }

  // What is found is handed to `put` before it is complete, so that a cut leaves what was read.
  value(put, level) {
    const first = this.peek();
    if (level > MOST_LEVELS) throw new Stop(`nested more than ${MOST_LEVELS} levels deep`);
    if (first === "{") return this.object(put, level);
    if (first === "[") return this.list(put, level);
    if (first === '"') return put({ kind: "text", text: this.string() });
    for (const word of ["true", "false", "null"]) {
      const rest = this.text.slice(this.at, this.at + word.length);
      if (rest === word) {
        this.at += word.length;
        return put(word === "null" ? { kind: "none" } : { kind: "plain", text: word });
      }
      if (rest && word.startsWith(rest)) throw new Stop("cut");
    }
    const number = this.take(NUMBER);
    if (number === null) return this.text.slice(this.at) === "-" ? this.cut() : this.wrong();
    return put({ kind: "plain", text: number });
  }

  cut() {
    throw new Stop("cut");
  }

  object(put, level) {
    const found = { kind: "object", pairs: [], open: true };
    put(found);
    this.at += 1;
    if (this.peek() === "}") this.at += 1;
    else {
      for (;;) {
        if (this.peek() !== '"') this.wrong();
        const key = this.string();
        this.expect(":");
        this.value((value) => found.pairs.push([key, value]), level + 1);
        if (this.peek() === "}") { this.at += 1; break; }
        this.expect(",");
      }
    }
    found.open = false;
  }

  list(put, level) {
    const found = { kind: "list", items: [], open: true };
    put(found);
    this.at += 1;
    if (this.peek() === "]") this.at += 1;
    else {
      for (;;) {
        this.value((value) => found.items.push(value), level + 1);
        if (this.peek() === "]") { this.at += 1; break; }
        this.expect(",");
      }
    }
    found.open = false;
  }
}

/** Never throws; see above. */
export function parse(text) {
  const reader = new Reader(text);
  let value = null;
  try {
    reader.value((found) => { value = found; }, 0);
    reader.take(SPACE);
    return { value, end: reader.at < text.length ? "something follows after the value" : "" };
  } catch (error) {
    if (error instanceof Stop) return { value, end: error.message };
    return { value: null, end: "it can't be read here" };
  }
}

/** The value as text with two spaces per level; numbers keep their digits. */
export function format(value, indent = "") {
  const inner = `${indent}  `;
  switch (value.kind) {
    case "text": return JSON.stringify(value.text);
    case "plain": return value.text;
    case "none": return "null";
    case "list": return value.items.length ? `[\n${value.items.map((item) => inner + format(item, inner)).join(",\n")}\n${indent}]` : "[]";
    default: return value.pairs.length ? `{\n${value.pairs.map(([key, item]) => `${inner}${JSON.stringify(key)}: ${format(item, inner)}`).join(",\n")}\n${indent}}` : "{}";
  }
}
