// The tail: rows of the room `events` as they come, newest first. Nothing moves under the hand: while the pointer, the
// focus or a selection is in the table, the page is scrolled into it, or the tab is hidden, new rows wait behind "17 new".
// At most 500 rows are kept, shown or waiting; what the server left out, because it was too much, is counted and said.
import { eventUrl } from "./addresses.js";
import { addTerm, makeFilters, sayProblem, setFilter } from "./filter.js";
import { pause, rejoin } from "./live.js";
import { notice } from "./notices.js";
import { clock, duration, refresh } from "./time.js";

const MOST = 500;
const CAN_HOVER = matchMedia("(hover: hover)");
const SAVED = ["at", "outcome", "eventId", "topic", "group", "partition", "offset", "key", "priority", "source", "userId", "correlationId", "attempt", "durationMs", "error", "nextRetryAt", "worker", "generation"];

makeFilters();
const form = document.getElementById("events-filter");
const box = document.getElementById("events-box");
const table = document.getElementById("events-table");
const body = table.tBodies[0];
const more = document.getElementById("events-new");
const empty = document.getElementById("events-empty");
const state = document.getElementById("events-state");
const skippedWords = document.getElementById("events-skipped");
const pauseButton = document.getElementById("events-pause");
const found = document.getElementById("events-found");
const skeleton = document.getElementById("events-row").content.firstElementChild;

let filter = JSON.parse(box.dataset.roomParams || "{}").filter ?? "";
let waiting = []; // newest first
let isGapWaiting = false;
let isPaused = false;
let skipped = 0;
let skippedSince = 0;
const keys = new Set([...body.rows].map((row) => row.dataset.key));
const rows = new WeakMap(); // of elements: what a frame said
for (const element of body.rows) {
  rows.set(element, JSON.parse(element.dataset.rowJson || "null"));
  delete element.dataset.rowJson;
}

// -- rows -------------------------------------------------------------------------------------------------------------

const keyOf = (row) => [row.at, row.outcome, row.eventId, row.group, row.attempt, row.generation].join("|");
const short = (id) => (id.length <= 17 ? id : `${id.slice(0, 8)}…${id.slice(-4)}`);
const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function says(row) {
  const took = row.durationMs === null ? "" : duration(row.durationMs / 1000);
  const number = row.attempt > 1 ? `attempt ${row.attempt}` : "";
  const words = {
    published: row.partition >= 0 ? `to [${row.partition}]@${row.offset}` : "",
    processing: number,
    processed: took ? `in ${took}${number ? ` at ${number}` : ""}` : number,
    retrying: `attempt ${row.attempt} failed`,
    failed: `given up${row.attempt > 1 ? ` after ${row.attempt} attempts` : ""}`,
    duplicate: row.group ? "not run again" : "not published again",
    skipped: "its handler takes no such events",
  }[row.outcome] ?? "";
  return [words, row.generation ? `replay ${row.generation}` : "", row.priority === "normal" ? "" : row.priority].filter(Boolean).join(" · ");
}

function make(row) {
  const element = skeleton.cloneNode(true);
  const slot = (name) => element.querySelector(`[data-slot="${name}"]`);
  element.dataset.key = keyOf(row);
  delete element.dataset.rowJson;
  rows.set(element, row);
  const at = slot("at");
  at.dateTime = new Date(row.at).toISOString();
  at.textContent = clock(row.at);
  at.title = at.dateTime;
  const status = document.createElement("span");
  status.className = `status ${row.outcome}`;
  status.textContent = row.outcome;
  slot("outcome").replaceChildren(status);
  slot("topic").textContent = row.topic;
  slot("group").textContent = row.group;
  slot("key").textContent = cut(row.key ?? "", 24);
  slot("key").title = row.key ?? "";
  const link = slot("event");
  link.textContent = short(row.eventId);
  link.title = row.eventId;
  link.href = eventUrl(row.eventId, row.partition >= 0 && row.offset >= 0 ? `${row.topic}/${row.partition}/${row.offset}` : "");
  slot("says").textContent = says(row);
  if (row.nextRetryAt) {
    const next = document.createElement("time");
    next.dateTime = new Date(row.nextRetryAt).toISOString();
    next.dataset.until = "";
    const words = Object.assign(document.createElement("span"), { className: "muted" });
    words.append(" next ", next);
    slot("says").after(words);
  }
  if (row.error) {
    const error = Object.assign(document.createElement("span"), { className: "foreign error", textContent: cut(row.error, 120), title: row.error });
    element.querySelector(".says").append(error);
  }
  return element;
}

function gap() {
  const element = document.createElement("tr");
  element.className = "gap";
  const cell = element.insertCell();
  cell.colSpan = 7;
  cell.textContent = "what happened in between isn't shown: the page wasn't connected, or too much happened";
  return element;
}

const STEPS = { published: 0, processing: 1 };
/** Below zero when `a` comes before `b`, in the order of the page: the newest first. */
const order = (a, b) => b.at - a.at || (STEPS[b.outcome] ?? 2) - (STEPS[a.outcome] ?? 2);

function put(newest, withGap) {
  if (withGap && body.rows.length) body.prepend(gap());
  // Processes tell what they did twice a second: what is new may be a little older than what is there.
  let place = body.firstElementChild;
  for (const row of newest.sort(order)) {
    while (place && rows.get(place) && order(rows.get(place), row) < 0) place = place.nextElementSibling;
    body.insertBefore(make(row), place);
  }
  while (body.rows.length > MOST) {
    keys.delete(body.lastElementChild.dataset.key);
    body.lastElementChild.remove();
  }
  refresh(body);
  show();
}

// -- the hand ---------------------------------------------------------------------------------------------------------

function isTouched() {
  if (document.hidden) return true;
  if (CAN_HOVER.matches && table.matches(":hover")) return true;
  if (table.contains(document.activeElement)) return true;
  if (!table.hidden && table.getBoundingClientRect().top < -40) return true;
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && selection.rangeCount && selection.getRangeAt(0).intersectsNode(table));
}

function release() {
  if (!waiting.length) return;
  const newest = waiting;
  const withGap = isGapWaiting;
  waiting = [];
  isGapWaiting = false;
  put(newest, withGap);
}

function show() {
  const isEmpty = body.rows.length === 0;
  table.hidden = isEmpty;
  empty.hidden = !isEmpty;
  if (isEmpty) {
    empty.querySelector("[data-empty-title]").textContent = filter ? "Nothing that fits happened lately" : "Nothing happened lately";
    empty.querySelector("[data-clear-filter]").hidden = !filter;
  }
  more.hidden = waiting.length === 0;
  more.textContent = waiting.length >= MOST ? `${MOST} new and more` : `${waiting.length} new`;
  const words = isPaused ? `Paused ${clock(isPaused)}` : "";
  if (state.textContent !== words) state.textContent = words; // it is read aloud
  skippedWords.hidden = !skipped;
  skippedWords.textContent = `${skipped.toLocaleString("en")} skipped`;
  skippedWords.title = `Since ${clock(skippedSince)}. At most 20 a second are shown, failures first. A filter shows more of what matters.`;
}

// -- frames -----------------------------------------------------------------------------------------------------------

document.addEventListener("live:rows", ({ detail }) => {
  if (detail.room !== "events" || (detail.params.filter ?? "") !== filter || isPaused) return;
  document.getElementById("events-trouble")?.remove();
  const fresh = detail.rows.filter((row) => !keys.has(keyOf(row)));
  const isGap = detail.reset && keys.size > 0 && fresh.length === detail.rows.length && fresh.length > 0;
  for (const row of fresh) keys.add(keyOf(row));
  const left = detail.skipped + detail.unseen;
  if (left) {
    skippedSince ||= Date.now();
    skipped += left;
  }
  // Those that were there before the page was opened may come a second time, in one piece with newer ones.
  const newest = fresh.reverse();
  if (newest.length && isTouched() && body.rows.length) {
    waiting = [...newest, ...waiting];
    isGapWaiting ||= isGap;
    for (const row of waiting.splice(MOST)) keys.delete(keyOf(row));
    show();
  } else {
    release();
    put(newest, isGap);
  }
});
document.addEventListener("live:refused", ({ detail }) => {
  if (detail.room === "events" && detail.code === "params") sayProblem(form, detail.problem.replace(/^params\.filter: /, ""));
});
more.addEventListener("click", () => { release(); scrollTo({ top: 0 }); });
setInterval(() => { if (waiting.length && !isTouched() && document.activeElement !== more) release(); }, 300);
document.addEventListener("visibilitychange", () => { if (!document.hidden) show(); });

// -- pause ------------------------------------------------------------------------------------------------------------

function togglePause() {
  isPaused = isPaused ? false : Date.now();
  if (isPaused) { pause("events"); release(); } else rejoin("events");
  pauseButton.setAttribute("aria-pressed", String(Boolean(isPaused)));
  pauseButton.querySelector("span").textContent = isPaused ? "Resume" : "Pause";
  pauseButton.querySelector("use").setAttribute("href", `${document.body.dataset.icons}#${isPaused ? "play" : "pause"}`);
  show();
}

pauseButton.addEventListener("click", togglePause);
document.addEventListener("key", ({ detail: { key, source } }) => {
  if (key === "p") togglePause();
  else if (key === "n") { if (waiting.length) { release(); scrollTo({ top: 0 }); } } else return;
  source.preventDefault();
});

// -- filter and search --------------------------------------------------------------------------------------------------

function apply(text, { push = true } = {}) {
  filter = text;
  found.hidden = true;
  sayProblem(form, "");
  if (push) history.pushState({}, "", text ? `?${new URLSearchParams({ filter: text })}` : location.pathname);
  document.title = document.title.replace(/^Events.*? · /, `Events${text ? ` ${cut(text, 40)}` : ""} · `);
  keys.clear();
  waiting = [];
  isGapWaiting = false;
  skipped = skippedSince = 0;
  body.replaceChildren();
  if (isPaused) togglePause();
  // Another room, so the live module joins it anew, and its last rows come at once.
  box.dataset.roomParams = JSON.stringify(text ? { filter: text } : {});
  show();
  mark();
}

async function search(text) {
  let answer;
  try {
    const response = await fetch(`/event-parts/search?${new URLSearchParams({ text })}`, { credentials: "same-origin" });
    if (!response.ok) throw new Error();
    answer = await response.json();
  } catch {
    return apply(text); // the filter at least works without
  }
  if (answer.isFilter) return apply(text);
  if (answer.problem) return sayProblem(form, answer.problem);
  if (answer.url) return location.assign(answer.url);
  setFilter(form, answer.filter, { apply: false });
  apply(answer.filter);
  found.hidden = false;
  found.querySelector("[data-found-words]").textContent = `${answer.words}${answer.choices.length ? "" : " Below is what happens now and has this text in it."}`;
  found.querySelector("[data-found-choices]").replaceChildren(...answer.choices.map(({ url, eventId, words }) => {
    const item = document.createElement("li");
    item.dataset.row = "";
    const link = Object.assign(document.createElement("a"), { className: "row-link mono foreign", href: url, textContent: eventId });
    item.append(link, " ", Object.assign(document.createElement("span"), { className: "muted", textContent: words }));
    return item;
  }));
  found.querySelector("a")?.focus();
}

form.addEventListener("filter:apply", (event) => {
  event.preventDefault();
  const { text } = event.detail;
  if (text && text !== filter) search(text); else apply(text);
});
addEventListener("popstate", () => {
  const text = new URLSearchParams(location.search).get("filter") ?? "";
  setFilter(form, text, { apply: false });
  apply(text, { push: false });
});

function mark() {
  const terms = filter.split(/\s+/);
  for (const link of document.querySelectorAll("[data-term]")) {
    if (terms.includes(link.dataset.term)) link.setAttribute("aria-current", "true"); else link.removeAttribute("aria-current");
  }
}

document.addEventListener("click", (event) => {
  const term = event.target.closest("[data-term]");
  if (term && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    addTerm(form, term.dataset.term);
  }
  if (event.target.closest("[data-clear-filter]")) setFilter(form, "");
});
document.addEventListener("htmx:afterSettle", mark);

// -- export -----------------------------------------------------------------------------------------------------------

const FORMULA = /^[=+\-@\t\r]/; // spreadsheets run such cells, and the text is somebody else's

function csv(list) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (typeof value === "string" && FORMULA.test(text)) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [SAVED, ...list.map((row) => SAVED.map((name) => (name === "at" || name === "nextRetryAt" ? row[name] && new Date(row[name]).toISOString() : row[name])))].map((line) => line.map(cell).join(",")).join("\r\n");
}

document.addEventListener("click", (event) => {
  const kind = event.target.closest("[data-export]")?.dataset.export;
  if (!kind) return;
  const list = [...body.rows].map((element) => rows.get(element)).filter(Boolean);
  if (!list.length) return notice("There is nothing to export yet.");
  const text = kind === "csv" ? csv(list) : JSON.stringify(list.map((row) => Object.fromEntries(SAVED.map((name) => [name, row[name]]))), null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv;charset=utf-8" : "application/json" }));
  link.download = `events-${new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-")}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});

mark();
show();
if (new URLSearchParams(location.search).has("search")) {
  history.replaceState({}, "", filter ? `?${new URLSearchParams({ filter })}` : location.pathname);
  if (!found.hidden) found.querySelector("a")?.focus(); else form.querySelector("input").focus();
}
