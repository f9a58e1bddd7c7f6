// The publish form: JSON checked as it is typed, the event checked by the server before it is sent, and an eventId of the
// page's own, so that sending again after a lost answer publishes once.
import { JsonText, Problem, call } from "./api.js";
import { eventUrl } from "./addresses.js";
import { format, parse } from "./json.js";
import { notice } from "./notices.js";

const LABELS = ["key", "priority", "source", "correlationId", "userId", "eventId", "version"];
const PATIENCE = 400;
const form = document.getElementById("publish-form");
const data = form.elements.data;
const outcome = document.getElementById("publish-outcome");
const hint = form.querySelector("[data-json-state]");
const HINT = hint.textContent;
const submit = form.querySelector("[type=submit]");
const isAllowed = !submit.disabled;
let example = currentExample();
let sendId = ""; // of the event as it stands, for sending it again
let checking = 0;
let timer = 0;

function currentExample() {
  return document.getElementById("publish-example")?.textContent ?? "{}";
}

function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

// -- what stands in the form ------------------------------------------------------------------------------------------

/** What is wrong with the data as JSON; empty when it is an object. */
function jsonProblem() {
  const { value, end } = parse(data.value);
  if (end === "cut") return data.value.trim() ? "the JSON isn't finished: a bracket or quote is still open" : "needs a JSON object, {} at least";
  if (end) return end;
  return value.kind === "object" ? "" : `needs a JSON object, {…}; this is a ${value.kind === "plain" ? "number or truth value" : value.kind}`;
}

/** The body as text: the data stands in it as it was typed. */
function body(eventId) {
  const given = { topic: form.elements.topic.value };
  for (const name of LABELS) if (form.elements[name].value) given[name] = form.elements[name].value;
  given.source ??= "console";
  if (eventId) given.eventId = eventId;
  return new JsonText(`${JSON.stringify(given).slice(0, -1)},"data":${data.value}}`);
}

function showProblems(errors) {
  const left = [];
  for (const field of form.querySelectorAll("[data-field]")) {
    const mine = errors.filter(({ field: name }) => name === field.dataset.field || name.startsWith(`${field.dataset.field}.`) || name.startsWith(`${field.dataset.field}[`));
    const words = mine.map(({ field: name, problem }) => (name === field.dataset.field ? problem : `${name}: ${problem}`)).join("; ");
    const place = field.querySelector(".problem");
    place.textContent = words;
    place.hidden = !words;
    const input = field.querySelector("input, select, textarea");
    if (words) input.setAttribute("aria-invalid", "true"); else input.removeAttribute("aria-invalid");
  }
  const known = [...form.querySelectorAll("[data-field]")].map((field) => field.dataset.field);
  for (const { field, problem } of errors) if (!known.some((name) => field === name || field.startsWith(`${name}.`) || field.startsWith(`${name}[`))) left.push(`${field}: ${problem}`);
  return left;
}

function showHeaders(headers) {
  const rows = document.getElementById("publish-headers");
  rows.replaceChildren(...headers.map(([name, value]) => {
    const row = document.createElement("tr");
    for (const text of [name, value]) {
      const cell = row.insertCell();
      cell.className = "mono foreign";
      cell.textContent = text;
    }
    return row;
  }));
}

async function check() {
  clearTimeout(timer);
  const number = ++checking;
  const problem = jsonProblem();
  hint.textContent = problem ? HINT : `✓ ${HINT}`;
  if (problem) return showProblems([{ field: "data", problem }]);
  try {
    const answer = await call("POST", "/publish/check", body(""));
    if (number !== checking) return;
    showProblems(answer.errors);
    if (answer.errors.length) return;
    document.getElementById("publish-size").textContent = `${answer.size.toLocaleString("en")} bytes`;
    showHeaders(answer.headers);
  } catch { /* said when it is sent */ }
}

function changed() {
  sendId = "";
  outcome.hidden = true;
  clearTimeout(timer);
  timer = setTimeout(check, PATIENCE);
}

// -- sending ----------------------------------------------------------------------------------------------------------

function say(words, ...actions) {
  outcome.hidden = false;
  outcome.querySelector("p").textContent = words;
  outcome.querySelector(".row").replaceChildren(...actions.map(([label, run]) => {
    const element = document.createElement(typeof run === "string" ? "a" : "button");
    element.className = "button small";
    element.textContent = label;
    if (typeof run === "string") element.href = run;
    else { element.type = "button"; element.addEventListener("click", run); }
    return element;
  }));
  outcome.scrollIntoView({ block: "nearest" });
}

async function send() {
  if (!isAllowed || submit.disabled) return;
  const problem = jsonProblem();
  if (problem) {
    showProblems([{ field: "data", problem }]);
    data.focus();
    return;
  }
  outcome.hidden = true;
  // Made here and not by the server: after a lost answer the same id is sent, and the event is published once.
  sendId = form.elements.eventId.value || sendId || newId();
  submit.disabled = true;
  submit.setAttribute("aria-busy", "true");
  try {
    const { data: sent } = await call("POST", "/api/events/publish", body(sendId));
    const at = `${sent.topic}/${sent.partition}/${sent.offset}`;
    if (sent.duplicate) {
      showProblems([]);
      say(`An event with this id was published before, to ${sent.topic}[${sent.partition}]@${sent.offset}. Nothing was sent again.`, ["Open that event", eventUrl(sent.eventId, at)], ["Send as a new event", asNew]);
    } else location.assign(eventUrl(sent.eventId, at));
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    refused(error);
  } finally {
    submit.disabled = !isAllowed;
    submit.removeAttribute("aria-busy");
  }
}

function asNew() {
  form.elements.eventId.value = "";
  sendId = "";
  send();
}

function refused(error) {
  const left = showProblems(error.errors);
  const first = form.querySelector("[aria-invalid=true]");
  const type = String(error.document.type || "").split(":").pop();
  if (error.status === 422 || error.status === 400 || error.status === 413) {
    if (left.length || !first) say(left.join("; ") || error.message);
    else first.focus();
    return;
  }
  if (type === "event-id-conflict") return say(`${error.message}.`, ["Send with a new id", asNew]);
  if (type === "publish-in-flight") return say(`${error.message}.`, ["Send again", send], ["Look what became of it", eventUrl(sendId)]);
  if (error.status === 503 || error.status === 0) {
    sendId = error.document.eventId || sendId;
    const fate = type === "publish-refused" || type === "broker-unavailable" ? "It was not published." : "It may or may not have been published.";
    return say(`${error.message} ${fate} Send it again with its id ${sendId}: then it is published once, whatever happened.`, ["Send again with the same id", send], ["Look whether it arrived", eventUrl(sendId)]);
  }
  say(error.message);
}

// -- filling in -------------------------------------------------------------------------------------------------------

function fillExample() {
  example = currentExample();
  data.value = example;
  changed();
}

async function fillCopy(params) {
  const box = document.getElementById("publish-copy");
  const words = box.querySelector("p");
  box.hidden = false;
  words.textContent = "Reading the event to be copied …";
  try {
    const copy = await call("GET", `/publish/copied?${new URLSearchParams(params)}`);
    const value = parse(copy.value).value;
    const found = value?.kind === "object" ? value.pairs.find(([name]) => name === "data")?.[1] : null;
    if (copy.event.topic) await choose(copy.event.topic);
    for (const name of LABELS) if (copy.event[name]) form.elements[name].value = copy.event[name];
    if (found) data.value = format(found);
    words.replaceChildren("A copy of ", link(copy.eventId), `, ${copy.from}. It gets an id of its own, so it is a new event for every consumer group.${copy.note ? ` ${copy.note}` : ""}`);
    changed();
    data.focus();
    data.setSelectionRange(0, 0);
  } catch (error) {
    box.classList.add("bad");
    words.textContent = `It can't be copied: ${error.message}`;
  }
}

function link(id) {
  const element = document.createElement("a");
  element.href = eventUrl(id);
  element.className = "mono foreign";
  element.textContent = id;
  return element;
}

async function choose(topic) {
  const select = form.elements.topic;
  if (![...select.options].some((option) => option.value === topic)) {
    notice(`${topic} isn't in the catalog; choose where the copy is to go.`, { tone: "bad" });
    return;
  }
  select.value = topic;
  name();
  await window.htmx.ajax("GET", `/publish/schema?${new URLSearchParams({ topic })}`, { target: "#publish-schema", swap: "outerHTML" });
  example = currentExample();
}

function name() {
  document.getElementById("publish-topic").textContent = form.elements.topic.value;
}

form.addEventListener("input", changed);
form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
form.elements.topic.addEventListener("change", () => {
  name();
  history.replaceState(null, "", `?${new URLSearchParams({ topic: form.elements.topic.value })}`);
});
form.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  send();
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-action=example]")) fillExample();
  if (event.target.closest("[data-action=tidy]")) {
    const { value, end } = parse(data.value);
    if (end === "") { data.value = format(value); changed(); } else check();
  }
});
document.addEventListener("click", (event) => {
  const wanted = event.target.closest("[data-simulate]")?.dataset.simulate;
  if (wanted === undefined) return;
  const { value, end } = parse(data.value);
  if (end !== "" || value.kind !== "object") return check();
  value.pairs = value.pairs.filter(([key]) => key !== "simulate");
  if (wanted) value.pairs.push(["simulate", { kind: "text", text: wanted }]);
  data.value = format(value);
  changed();
});
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.elt?.id !== "publish-schema" && !document.getElementById("publish-schema")) return;
  const next = currentExample();
  if (next === example) return;
  // What somebody wrote stays; the example of another topic is replaced.
  if (data.value.trim() === example.trim() || !data.value.trim()) { example = next; fillExample(); } else { example = next; changed(); }
});
name();
if (form.dataset.copied) fillCopy(JSON.parse(form.dataset.copied)); else check();
