// Edit and replay: the original in a form, headers by what they mean to the bus, what differs before it is sent. The copy
// is stored with ten seconds of undo; the server holds it against the topic's schema and says which field is wrong.
import { JsonText, call } from "./api.js";
import { confirmed, refuse, showSending } from "./dead-letters.js";
import { parse } from "./json.js";

const UNDO_SECONDS = 10;
const dialog = document.getElementById("edit");
const part = (name) => dialog.querySelector(`[data-edit-${name}]`);
const problemOf = (name) => dialog.querySelector(`[data-problem="${name}"]`);
const data = part("data");
const key = part("key");
const noKey = part("no-key");
const headers = part("headers");
const original = { data: null, key: key.value, hadKey: key.dataset.hasKey === "yes", headers: headers.innerHTML };

// -- what is there, and what is wanted ------------------------------------------------------------------------------------

function keyNow() {
  if (noKey?.checked) return null;
  return original.hadKey || key.value !== "" ? key.value : null;
}

const keyBefore = () => (original.hadKey ? original.key : null);

function headersNow() {
  const changed = {};
  for (const row of headers.children) {
    const input = row.querySelector("input.header-value, input:not(.header-new-name)");
    const name = row.dataset.header ?? row.querySelector(".header-new-name").value.trim();
    if (row.dataset.kind === "locked" || !name) continue;
    const isRemoved = row.classList.contains("removed");
    if (row.dataset.header === undefined) { if (!isRemoved) changed[name] = input.value; }
    else if (isRemoved) changed[name] = null;
    else if (input.value !== input.defaultValue) changed[name] = input.value;
  }
  return changed;
}

function isChanged() {
  return data.value !== original.data || keyNow() !== keyBefore() || Object.keys(headersNow()).length > 0;
}

// -- differences ------------------------------------------------------------------------------------------------------

const shown = (value) => {
  if (value === undefined) return "(not there)";
  switch (value.kind) {
    case "text": return JSON.stringify(value.text);
    case "plain": return value.text;
    case "none": return "null";
    case "list": return `[${value.items.map(shown).join(", ")}]`;
    default: return `{${value.pairs.map(([name, each]) => `${JSON.stringify(name)}: ${shown(each)}`).join(", ")}}`;
  }
};

function differences(path, before, after, found) {
  if (before?.kind === "object" && after?.kind === "object") {
    const [old, fresh] = [new Map(before.pairs), new Map(after.pairs)];
    for (const name of new Set([...old.keys(), ...fresh.keys()])) differences(`${path}.${name}`, old.get(name), fresh.get(name), found);
  } else if (before?.kind === "list" && after?.kind === "list" && before.items.length === after.items.length) {
    before.items.forEach((item, index) => differences(`${path}[${index}]`, item, after.items[index], found));
  } else if (before === undefined || after === undefined || shown(before) !== shown(after)) found.push([path, shown(before), shown(after)]);
  return found;
}

function allDifferences() {
  const before = original.data ? parse(original.data).value ?? undefined : undefined;
  const found = data.value === original.data ? [] : differences("data", before, parse(data.value).value ?? undefined, []);
  const said = (value) => (value === null ? "(none)" : value);
  if (keyNow() !== keyBefore()) found.push(["key", said(keyBefore()), said(keyNow())]);
  for (const [name, value] of Object.entries(headersNow())) {
    const old = [...headers.children].find((row) => row.dataset.header === name)?.querySelector("input").defaultValue;
    found.push([`headers.${name}`, old ?? "(not there)", value ?? "(taken away)"]);
  }
  return found;
}

function review() {
  clear();
  const { end } = parse(data.value);
  if (data.value !== original.data && end) return complain("data", end === "cut" ? "The JSON ends too early: a brace, bracket or quote is missing." : `Not JSON: ${end}.`);
  const found = allDifferences();
  if (!found.length) return complain("edit", "Nothing differs from the original. Change something, or replay it as it is.");
  part("diff").replaceChildren(...found.map(([path, before, after]) => {
    const row = document.createElement("tr");
    for (const [tag, className, text] of [["th", "mono foreign", path], ["td", "before mono foreign", before], ["td", "after mono foreign", after]]) {
      const cell = document.createElement(tag);
      if (tag === "th") cell.scope = "row";
      cell.className = className;
      cell.textContent = text.length > 400 ? `${text.slice(0, 400)}…` : text;
      row.append(cell);
    }
    return row;
  }));
  step("review");
  part("send").focus();
}

function step(name) {
  const isReview = name === "review";
  for (const each of dialog.querySelectorAll("[data-edit-step]")) each.hidden = each.dataset.editStep !== name;
  for (const [one, isThere] of [["review", !isReview], ["back", isReview], ["send", isReview], ["reset", !isReview]]) part(one).hidden = !isThere;
}

// -- problems beside their fields ---------------------------------------------------------------------------------------

function clear() {
  for (const each of dialog.querySelectorAll(".problem")) each.textContent = "";
  for (const each of dialog.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
}

function complain(name, words, focus = true) {
  problemOf(name).textContent = words;
  const field = { data, key }[name];
  if (!field) return;
  field.setAttribute("aria-invalid", "true");
  if (focus) field.focus();
}

function place(error) {
  step("edit");
  const errors = error.errors.length ? error.errors : [{ field: "", problem: error.message }];
  for (const { field, problem } of errors) {
    if (field.startsWith("edit.data")) complain("data", `${field.slice(5)}: ${problem}`);
    else if (field.startsWith("edit.key")) complain("key", problem);
    else if (field.startsWith("edit.headers")) {
      const row = [...headers.children].find((each) => `edit.headers.${each.dataset.header}` === field);
      if (row) row.querySelector(".problem").textContent = problem;
      else complain("headers", problem);
    } else complain("edit", error.message);
  }
}

// -- sending --------------------------------------------------------------------------------------------------------------

async function send() {
  const extra = await confirmed(dialog.dataset);
  if (extra === null) return;
  const button = part("send");
  button.disabled = true;
  const edit = [];
  // The text as it was typed: the browser's own numbers would lose digits.
  if (data.value !== original.data) edit.push(`"data":${data.value}`);
  if (keyNow() !== keyBefore()) edit.push(`"key":${JSON.stringify(keyNow())}`);
  edit.push(`"headers":${JSON.stringify(headersNow())}`);
  const reason = document.getElementById("edit-reason").value.trim() || extra.reason;
  const rest = JSON.stringify({ delay: UNDO_SECONDS, ...extra, reason }).slice(1, -1);
  try {
    const { data: replay } = await call("POST", `/api/dead-letters/${dialog.dataset.edit}/replay`, new JsonText(`{${rest},"edit":{${edit.join(",")}}}`));
    dialog.close("sent");
    showSending(dialog.dataset.edit, replay.sendAt);
  } catch (error) {
    if (error.status === 409) { dialog.close("sent"); refuse(error, dialog.dataset.edit); }
    else place(error);
  } finally { button.disabled = false; }
}

// -- the form -----------------------------------------------------------------------------------------------------------

async function load() {
  if (original.data !== null) return;
  const url = data.dataset.editLoad;
  if (url) {
    data.disabled = true;
    try {
      const response = await fetch(url, { credentials: "same-origin" });
      if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail || `the server answered ${response.status}`);
      data.value = await response.text();
    } catch (error) { complain("data", `The original can't be fetched: ${error.message}`, false); }
    data.disabled = false;
  }
  original.data = data.value;
}

function reset() {
  clear();
  data.value = original.data;
  key.value = original.key;
  if (noKey) noKey.checked = false;
  // What the server drew, drawn once more.
  const template = document.createElement("template");
  template.innerHTML = original.headers;
  headers.replaceChildren(template.content);
}

function addHeader() {
  const row = document.createElement("div");
  row.className = "header-row free";
  row.dataset.kind = "free";
  const name = document.createElement("input");
  name.className = "header-new-name";
  name.setAttribute("aria-label", "Name of the new header");
  name.placeholder = "name";
  const value = document.createElement("input");
  value.className = "header-value";
  value.setAttribute("aria-label", "Value of the new header");
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "button small quiet";
  remove.dataset.removeHeader = "";
  remove.textContent = "Remove";
  row.append(name, value, remove);
  headers.append(row);
  name.focus();
}

function removeHeader(button) {
  const row = button.closest(".header-row");
  if (row.dataset.header === undefined) return row.remove();
  const isRemoved = row.classList.toggle("removed");
  button.textContent = isRemoved ? "Bring back" : "Remove";
  row.querySelector("input").readOnly = isRemoved;
}

let asksAgain = false;

function cancel() {
  if (isChanged() && !asksAgain) {
    asksAgain = true;
    part("cancel").textContent = "Drop the changes";
    problemOf("edit").textContent = "You have changed something. Press once more to drop it.";
    return;
  }
  reset();
  dialog.close("cancelled");
}

document.addEventListener("click", (event) => { if (event.target.closest("[data-opens=edit]")) load(); });
dialog.addEventListener("close", () => {
  asksAgain = false;
  part("cancel").textContent = "Cancel";
  step("edit");
});
// Escape asks as the button does.
dialog.addEventListener("cancel", (event) => { if (isChanged()) { event.preventDefault(); cancel(); } });
dialog.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); part("review").hidden ? send() : review(); });
part("review").addEventListener("click", review);
part("back").addEventListener("click", () => { step("edit"); data.focus(); });
part("send").addEventListener("click", send);
part("reset").addEventListener("click", reset);
part("cancel").addEventListener("click", cancel);
dialog.querySelector("[data-add-header]").addEventListener("click", addHeader);
dialog.addEventListener("click", (event) => {
  const button = event.target.closest("[data-remove-header]");
  if (button) removeHeader(button);
});
