// What is done to dead letters: replay one with ten seconds of undo (kept on the server), plan a replay of many, discard,
// restore, keep, write a note. Everything goes through the API, which checks it again.
import { call } from "./api.js";
import { notice } from "./notices.js";
import { selected } from "./rows.js";
import { ago, now } from "./time.js";

const UNDO_SECONDS = 10;
const FORCE_FROM = 3; // generations that were replayed so often need a yes
const FOLLOWED_MS = 90_000;
const byId = (id) => document.getElementById(id);
const short = (id) => (id.length > 17 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);
const failed = (error) => notice(error.message, { tone: "bad" });
const many = (n, one, more) => `${n.toLocaleString("en")} ${n === 1 ? one : more}`;

/** What a dialog was closed with. */
function asked(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true }));
}

/** What has to be confirmed before this dead letter is replayed; null when somebody says no. */
export async function confirmed({ generation, group, topic }) {
  const often = Number(generation) + 1 > FORCE_FROM;
  const everybody = group === "";
  if (!often && !everybody) return { reason: "" };
  const dialog = byId("confirm-replay");
  const words = [];
  if (often) words.push(`It was replayed ${generation} times and failed each time.`);
  if (everybody) words.push(`It names no consumer group: all groups of ${topic} will see it, also those that have handled it.`);
  dialog.querySelector("[data-confirm-text]").textContent = words.join(" ");
  dialog.querySelector("[data-confirm-yes]").textContent = everybody ? "Replay to all groups" : "Replay once more";
  const reason = dialog.querySelector("#confirm-replay-reason");
  reason.value = "";
  if ((await asked(dialog)) !== "yes") return null;
  return { reason: reason.value.trim(), force: often, allGroups: everybody };
}

// -- replay of one ----------------------------------------------------------------------------------------------------

const rowOf = (id) => document.querySelector(`tr[data-letter="${id}"]`);

function say(cell, ...parts) {
  cell.replaceChildren(...parts.map((part) => (typeof part === "string" ? document.createTextNode(part) : part)));
}

function mark(kind, words) {
  const element = document.createElement("span");
  element.className = `status ${kind}`;
  element.textContent = words;
  return element;
}

function link(href, words) {
  const element = document.createElement("a");
  element.href = href;
  element.textContent = words;
  return element;
}

/** Show that it will be sent, and how to take it back. */
export function showSending(id, sendAt) {
  const row = rowOf(id);
  if (!row) {
    if (document.querySelector("[data-letter-page]")) refreshUnlessLive();
    return;
  }
  const cell = row.querySelector("[data-row-action]");
  const time = document.createElement("time");
  time.dateTime = sendAt;
  time.dataset.until = "";
  time.textContent = `in ${UNDO_SECONDS} s`;
  const undo = document.createElement("button");
  undo.type = "button";
  undo.className = "button small";
  undo.textContent = "Undo";
  undo.dataset.undo = id;
  undo.setAttribute("aria-label", `Undo the replay of dead letter ${id}`);
  say(cell, time, " ", undo);
  undo.focus();
  const box = row.querySelector("input[name=ids]");
  if (box) { box.checked = false; box.disabled = true; }
  follow(id, Date.parse(sendAt));
}

async function follow(id, sendAtMs) {
  const until = sendAtMs + FOLLOWED_MS;
  const cell = rowOf(id)?.querySelector("[data-row-action]");
  while (cell?.isConnected && now() < until) {
    await new Promise((resolve) => setTimeout(resolve, now() < sendAtMs ? sendAtMs - now() + 400 : 1000));
    let letter;
    try { ({ data: letter } = await call("GET", `/api/dead-letters/${id}`)); } catch { continue; }
    if (cell.dataset.isUndone !== undefined) return;
    if (letter.status === "replaying") say(cell, mark("replaying", await howFar(letter.replay, sendAtMs)));
    else if (letter.status === "resolved") { say(cell, mark("resolved", "handled")); return; }
    else if (letter.failedAgainAs) { say(cell, mark("failed", "failed again"), " ", link(`/dead-letters/${letter.failedAgainAs}`, "open")); return; }
    else return;
  }
  if (cell?.isConnected) say(cell, link(`/dead-letters/${id}`, "no outcome yet"));
}

async function howFar(replay, sendAtMs) {
  const { data } = await call("GET", `/api/replays/${replay}`).catch(() => ({ data: { sent: 0 } }));
  if (data.sent) return "sent";
  return now() - sendAtMs < 6000 ? "being sent" : "stored, waits for Kafka";
}

function refreshUnlessLive() {
  if (document.documentElement.dataset.live !== "live") location.reload();
}

/** Draw the page anew, and say there what was done. */
function reloadSaying(words) {
  try { sessionStorage.setItem("said", words); } catch { /* then it isn't said */ }
  location.reload();
}

try {
  const said = sessionStorage.getItem("said");
  sessionStorage.removeItem("said");
  if (said) notice(said, { tone: "good" });
} catch { /* nothing was said */ }

async function replay(button) {
  const { replay: id } = button.dataset;
  const extra = await confirmed(button.dataset);
  if (extra === null) return;
  button.disabled = true;
  try {
    const { data } = await call("POST", `/api/dead-letters/${id}/replay`, { delay: UNDO_SECONDS, ...extra });
    showSending(id, data.sendAt);
  } catch (error) {
    button.disabled = false;
    refuse(error, id);
  }
}

/** A second person is told who and when. */
export function refuse(error, id) {
  const { who, when } = error.document || {};
  const words = who && when ? `${error.message.split(" by ")[0]} by ${who}, ${ago(Date.parse(when))}.` : error.message;
  notice(words, { tone: "bad", action: { label: "Show it", run: () => location.assign(`/dead-letters/${id}`) } });
}

async function undo(button) {
  const { undo: id } = button.dataset;
  button.disabled = true;
  try {
    await call("POST", `/api/dead-letters/${id}/undo`);
  } catch (error) {
    button.disabled = false;
    failed(error);
    return;
  }
  const row = rowOf(id);
  const isAlone = Boolean(document.querySelector("[data-letter-page]"));
  const words = "Taken back: nothing was sent.";
  // It left the list with a reload: the list is another one now.
  if (!row && (!isAlone || document.documentElement.dataset.live !== "live")) { reloadSaying(words); return; }
  notice(words, { tone: "good" });
  document.querySelector(`[data-pending="${id}"]`)?.remove();
  if (row) {
    const cell = row.querySelector("[data-row-action]");
    cell.dataset.isUndone = "";
    const again = document.createElement("button");
    again.type = "button";
    again.className = "button small";
    again.textContent = "Replay";
    Object.assign(again.dataset, { replay: id, generation: row.dataset.generation, group: row.dataset.group, topic: row.dataset.topic });
    say(cell, again);
    again.focus();
    setTimeout(() => delete cell.dataset.isUndone, 2000);
    const box = row.querySelector("input[name=ids]");
    if (box) box.disabled = false;
  }
}

// -- replay of many ---------------------------------------------------------------------------------------------------

async function plan(body, button) {
  const before = button.textContent;
  button.disabled = true;
  button.textContent = "Planning…";
  try {
    const { data } = await call("POST", "/api/replays", body);
    location.assign(`/replays/${data.id}`);
  } catch (error) {
    button.disabled = false;
    button.textContent = before;
    offer(error, body, button);
  }
}

/** What was left out can be taken all the same, when somebody says so. */
function offer(error, body, button) {
  const often = /with force only/.test(error.message) && !body.force;
  const everybody = /no group is named|allGroups/.test(error.message) && !body.allGroups;
  if (error.status !== 422 || !(often || everybody)) return failed(error);
  const label = everybody ? "Plan it for all groups" : "Plan it all the same";
  notice(error.message, { tone: "bad", action: { label, run: () => plan({ ...body, force: body.force || often, allGroups: body.allGroups || everybody }, button) } });
}

// -- discard and restore ----------------------------------------------------------------------------------------------

const discardDialog = byId("discard");
let toDiscard = null; // {ids} or {filter, count}

function openDiscard(title, what, rows) {
  toDiscard = what;
  const part = (name) => discardDialog.querySelector(`[data-discard-${name}]`);
  part("title").textContent = title;
  part("yes").textContent = title.replace("…", "");
  part("yes").disabled = false;
  part("problem").textContent = "";
  part("progress").hidden = true;
  const sample = part("sample");
  sample.hidden = !rows.length;
  sample.querySelector("tbody").replaceChildren(...rows.map((letter) => {
    const row = document.createElement("tr");
    for (const text of [short(letter.eventId), letter.topic, letter.group || "none named", `${letter.error.type || ""} ${letter.error.message || ""}`.trim().slice(0, 160), ago(Date.parse(letter.lastFailedAt))]) {
      const cell = document.createElement("td");
      cell.className = "foreign";
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
  discardDialog.showModal();
  byId("discard-reason").focus();
}

async function discardAll(button) {
  button.disabled = true;
  try {
    const found = await call("GET", `/dead-letters/matching?filter=${encodeURIComponent(button.dataset.discardAll)}`);
    if (!found.count) notice("Nothing fits any more: it was handled, or somebody else was faster.");
    else {
      const count = `${found.isAll ? "" : "more than "}${many(found.count, "dead letter", "dead letters")}`;
      openDiscard(`Discard ${count}`, { filter: { ...found.filter, until: earlier(found.filter.until, found.asOf) }, count: found.count }, found.sample);
    }
  } catch (error) { failed(error); }
  button.disabled = false;
}

const earlier = (one, other) => (one && one < other ? one : other);

async function discardNow() {
  const reason = byId("discard-reason");
  const problem = discardDialog.querySelector("[data-discard-problem]");
  problem.textContent = reason.value.trim() ? "" : "Say why: whoever finds them discarded will want to know.";
  if (problem.textContent) return reason.focus();
  const yes = discardDialog.querySelector("[data-discard-yes]");
  yes.disabled = true;
  try {
    const changed = toDiscard.ids ? await changeIds(toDiscard.ids, reason.value.trim()) : await changeAll(toDiscard, reason.value.trim());
    discardDialog.close();
    done(changed);
  } catch (error) {
    problem.textContent = error.message;
    yes.disabled = false;
  }
}

async function changeIds(ids, reason) {
  const { data } = await call("POST", "/api/dead-letters/discard", { ids, reason });
  return { ids: ids.filter((id) => !data.skipped.some((each) => each.id === id)), count: data.changed, skipped: data.skipped.length };
}

async function changeAll({ filter, count }, reason) {
  const progress = discardDialog.querySelector("[data-discard-progress]");
  progress.hidden = false;
  progress.max = count;
  let changed = 0;
  for (;;) {
    const { data } = await call("POST", "/api/dead-letters/discard", { filter, reason });
    changed += data.changed;
    progress.value = changed;
    if (data.complete || !data.changed) return { ids: null, count: changed, skipped: 0 };
  }
}

function done({ ids, count, skipped }) {
  const words = `${many(count, "dead letter is", "dead letters are")} discarded${skipped ? `; ${skipped} were changed by somebody else` : ""}.`;
  if (!ids) { reloadSaying(words); return; }
  for (const id of ids) leave(id, "discarded");
  notice(words, { tone: "good", seconds: 10, action: { label: "Undo", run: () => restore(ids) } });
  if (document.querySelector("[data-letter-page]")) refreshUnlessLive();
}

function leave(id, words) {
  const row = rowOf(id);
  if (!row) return;
  row.classList.add("changed");
  row.classList.remove("selected");
  const cell = row.querySelector("[data-row-action]");
  if (cell) say(cell, words);
  const box = row.querySelector("input[name=ids]");
  if (box) { box.checked = false; box.disabled = true; box.dispatchEvent(new Event("change", { bubbles: true })); }
}

async function restore(ids) {
  try {
    const { data } = await call("POST", "/api/dead-letters/restore", { ids });
    notice(`${many(data.changed, "dead letter is", "dead letters are")} open again.`, { tone: "good" });
    for (const id of ids) leave(id, "open again");
    if (document.querySelector("[data-letter-page]")) refreshUnlessLive();
  } catch (error) { failed(error); }
}

async function keep(button) {
  try {
    await call("POST", `/api/dead-letters/${button.dataset.keep}/keep`, { keep: button.dataset.keepValue === "true" });
    reloadSaying(button.dataset.keepValue === "true" ? "It is kept beyond Kafka's retention." : "It goes with its record.");
  } catch (error) { failed(error); }
}

// -- notes ------------------------------------------------------------------------------------------------------------

const noteDialog = byId("note");
let noteOf = "";

function openNote({ note, noteText, noteOwner, noteTitle }) {
  noteOf = note;
  byId("note-text").value = noteText;
  byId("note-owner").value = noteOwner;
  noteDialog.querySelector("[data-note-of]").textContent = noteTitle;
  noteDialog.querySelector("[data-note-problem]").textContent = "";
  noteDialog.showModal();
}

async function saveNote() {
  try {
    await call("POST", `/api/dead-letter-groups/${noteOf}/note`, { note: byId("note-text").value, owner: byId("note-owner").value });
    noteDialog.close();
    if (document.documentElement.dataset.live === "live") notice("The note is saved.", { tone: "good" });
    else location.reload();
  } catch (error) { noteDialog.querySelector("[data-note-problem]").textContent = error.message; }
}

// -- clicks -----------------------------------------------------------------------------------------------------------

const idsIn = (button) => selected(button.closest("[data-selection]")).map(Number);

const ACTIONS = {
  "[data-replay]": replay,
  "[data-undo]": undo,
  "[data-plan]": (button) => plan({ filter: JSON.parse(button.dataset.plan) }, button),
  "[data-plan-selection]": (button) => plan({ ids: idsIn(button) }, button),
  "[data-discard]": (button) => openDiscard("Discard 1 dead letter", { ids: [Number(button.dataset.discard)] }, []),
  "[data-discard-selection]": (button) => { const ids = idsIn(button); openDiscard(`Discard ${many(ids.length, "dead letter", "dead letters")}`, { ids }, []); },
  "[data-discard-all]": discardAll,
  "[data-discard-yes]": discardNow,
  "[data-restore]": (button) => restore([Number(button.dataset.restore)]),
  "[data-restore-selection]": (button) => restore(idsIn(button)),
  "[data-clear-selection]": (button) => {
    for (const box of button.closest("[data-selection]").querySelectorAll("input[name=ids]:checked")) box.checked = false;
    button.closest("[data-selection]").querySelector("[data-select-all]")?.dispatchEvent(new Event("change", { bubbles: true }));
  },
  "[data-keep]": keep,
  "[data-note]": (button) => openNote(button.dataset),
  "[data-note-save]": saveNote,
};

document.addEventListener("click", (event) => {
  for (const [selector, run] of Object.entries(ACTIONS)) {
    const button = event.target.closest(selector);
    if (!button || button.disabled) continue;
    event.preventDefault();
    run(button);
    return;
  }
});
discardDialog?.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); discardNow(); });
noteDialog?.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); saveNote(); });

// -- live: nothing moves under the hand -------------------------------------------------------------------------------

const list = document.querySelector("[data-dead-letters]");
const address = new URLSearchParams(location.search);
const isNewest = !address.has("cursor") && address.get("order") !== "oldest";
const known = new Set([...document.querySelectorAll("tr[data-letter]")].map((row) => Number(row.dataset.letter)));
const PAGE = 50;

function offerNew(id, words, before) {
  let button = byId(id);
  if (!words) { button?.remove(); return; }
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.id = id;
    button.className = "new-rows";
    button.addEventListener("click", () => location.reload());
    before.before(button);
  }
  if (button.textContent !== words) button.textContent = words;
}

document.addEventListener("live:data", ({ detail: { room, data } }) => {
  if (room !== "dead-letters" || !data) return;
  const groups = byId("error-groups");
  const freshErrors = data.errors.filter((id) => !byId(`error-${id}`)).length;
  if (groups) offerNew("new-errors", freshErrors ? `${many(freshErrors, "new error", "new errors")} – show` : "", groups);
  if (!isNewest) return;
  const place = list?.querySelector(".table-scroll") || byId("dead-letter-list")?.lastElementChild;
  const first = data.letters.findIndex((id) => known.has(id));
  const fresh = data.letters.slice(0, first < 0 ? undefined : first).filter((id) => !known.has(id)).length;
  if (place) offerNew("new-rows", fresh ? `${fresh >= PAGE ? `${PAGE} or more` : fresh} new – show` : "", place);
  grey(new Set(data.letters), data.letters.length < PAGE ? Infinity : PAGE - fresh);
});

/** Rows whose dead letter isn't like the filter any more stay where they are, and say so. */
function grey(listed, most) {
  [...document.querySelectorAll("tr[data-letter]")].forEach((row, index) => {
    if (index >= most) return;
    const isThere = listed.has(Number(row.dataset.letter));
    const cell = row.querySelector("[data-row-action]");
    if (isThere || row.classList.contains("changed") || cell.querySelector("[data-undo], .status, time")) return;
    row.classList.add("changed");
    say(cell, "changed meanwhile");
    const box = row.querySelector("input[name=ids]");
    if (box?.checked) { box.checked = false; box.dispatchEvent(new Event("change", { bubbles: true })); }
    if (box) box.disabled = true;
  });
}

document.addEventListener("key", ({ detail: { key, source } }) => {
  const button = document.activeElement?.closest("tr[data-letter]")?.querySelector("[data-replay]");
  if (key === "n") (byId("new-rows") || byId("new-errors"))?.click();
  else if (key === "r" && button) button.click();
  else return;
  source.preventDefault();
});
