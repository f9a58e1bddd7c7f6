// Reset the offsets of a group: the form, its plan as a table, and the reset exactly as it was planned.
import { call } from "./api.js";
import { notice } from "./notices.js";
import { clock } from "./time.js";

const form = document.querySelector("[data-plan-form]");
const applying = document.querySelector("[data-apply-form]");
const panel = document.getElementById("reset-plan");
const api = document.querySelector("[data-group-api]").dataset.groupApi;
const number = new Intl.NumberFormat("en");
let plan = null;

function arrange() {
  const to = form.elements.to.value;
  form.querySelector("[data-only=offsets]").hidden = to !== "offsets";
  form.querySelector("[data-not=offsets]").hidden = to === "offsets";
  const topics = form.querySelector("[data-only-topics]");
  topics.hidden = form.elements.which.value !== "some";
  // A plan of something else is no plan.
  panel.hidden = true;
  plan = null;
}

function offsetsOf(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean).map((line) => {
    const found = /^(.+)\[(\d+)\]\s*[:=]?\s*(\d+)$/.exec(line);
    if (!found) throw new Error(`“${line.slice(0, 80)}” isn't a partition and an offset; write it as order.created[3] 1200`);
    return { topic: found[1], partition: Number(found[2]), offset: Number(found[3]) };
  });
}

function wanted() {
  const to = form.elements.to.value;
  const body = { to };
  if (to === "time") {
    const at = new Date(form.elements.at.value);
    if (Number.isNaN(at.getTime())) throw new Error("Say which time.");
    body.at = at.toISOString();
  }
  if (to === "offsets") {
    body.offsets = offsetsOf(form.elements.offsets.value);
    if (!body.offsets.length) throw new Error("Name at least one partition with its offset.");
  } else if (form.elements.which.value === "some") {
    body.topics = [...form.querySelector("[data-only-topics]").selectedOptions].map((each) => each.value);
    if (!body.topics.length) throw new Error("Choose at least one topic.");
  }
  return body;
}

function counted(count, one, many = `${one}s`) {
  return `${number.format(count)} ${count === 1 ? one : many}`;
}

function sentence({ again, passed, skipped: sample, note, rows }) {
  const parts = [];
  if (again) parts.push(`${counted(again, "event")} would be read again`);
  if (passed) parts.push(`${counted(passed, "event")} that it hasn't read would be passed over for good`);
  if (!parts.length) return `Nothing would change: all ${counted(rows.length, "partition")} are there already.`;
  let text = `${parts.join(", and ")}.`;
  if (sample) {
    const known = sample.handled + sample.deadLetters;
    const isAll = sample.lookedAt >= sample.total;
    const about = isAll ? known : Math.round((known / Math.max(1, sample.lookedAt)) * sample.total);
    text += ` ${isAll ? (known === sample.total ? "All" : number.format(known)) : `About ${number.format(about)}`} of them would be skipped as already handled${isAll ? "" : ` (as ${number.format(known)} of ${number.format(sample.lookedAt)} that were looked at)`}.`;
  }
  return note ? `${text} ${note.charAt(0).toUpperCase()}${note.slice(1)}.` : text;
}

function cell(label, text, className = "number") {
  const found = document.createElement("td");
  found.dataset.label = label;
  found.className = className;
  found.textContent = text;
  return found;
}

function show(found) {
  plan = found;
  panel.querySelector("[data-plan-answer]").textContent = sentence(found);
  panel.querySelector("[data-plan-at]").textContent = `as of ${clock(Date.now())}`;
  const again = panel.querySelector("[data-plan-again]");
  again.hidden = !(found.again && found.canHandleAgain);
  document.getElementById("handle-again").checked = false;
  panel.querySelector("[data-plan-rows]").replaceChildren(...found.rows.map((row) => {
    const line = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.className = "foreign cell-mono";
    head.dataset.label = "topic[partition]";
    head.textContent = `${row.topic}[${row.partition}]`;
    const moves = row.after - (row.before ?? row.first);
    line.append(
      head,
      cell("now", row.before === null ? "none yet" : number.format(row.before)),
      cell("after", number.format(row.after), "number strong"),
      cell("moves by", moves > 0 ? `+${number.format(moves)}` : number.format(moves), moves < 0 ? "number amber" : moves > 0 ? "number red" : "number muted"),
      cell("lag now", number.format(row.lagBefore)),
      cell("lag after", number.format(row.lagAfter)),
    );
    return line;
  }));
  panel.hidden = false;
  label();
  panel.scrollIntoView({ block: "start" });
}

// The button says the number, and why it can't be pressed while the group has members.
function label() {
  const button = applying.querySelector("[data-apply]");
  if (!plan || button.hasAttribute("aria-disabled")) return;
  const members = Number(document.getElementById("reset-state")?.dataset.members || 0);
  const again = document.getElementById("handle-again").checked;
  const moved = plan.rows.filter((row) => row.before !== row.after).length;
  button.textContent = `Reset ${counted(moved, "partition")}${again ? ` and handle ${counted(plan.again, "event")} again` : ""}`;
  button.disabled = members > 0 || (!moved && !again);
  const why = members > 0 ? `The group has ${counted(members, "member")}: stop ${members === 1 ? "it" : "them"} first.` : button.disabled ? "Nothing would change." : "";
  applying.querySelector("[data-apply-why]").textContent = why;
}

async function guarded(scope, run) {
  const problem = scope.querySelector(".problem");
  const button = scope.querySelector("[type=submit]");
  problem.hidden = true;
  button.disabled = true;
  try {
    await run();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  } finally {
    button.disabled = false;
    label();
  }
}

form.addEventListener("change", arrange);
document.getElementById("handle-again").addEventListener("change", label);
document.addEventListener("live:placed", label);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(form, async () => show((await call("POST", `${api}/offsets/plan`, wanted())).data));
});
applying.addEventListener("submit", (event) => {
  event.preventDefault();
  guarded(applying, async () => {
    const moves = plan.rows.map(({ topic, partition, before, after }) => ({ topic, partition, before, after }));
    const body = { offsets: moves, epoch: plan.epoch, handleAgain: document.getElementById("handle-again").checked, reason: applying.elements.reason.value.trim() };
    await call("POST", `${api}/offsets/apply`, body);
    const { length } = moves;
    panel.hidden = true;
    plan = null;
    notice(`Offsets of ${counted(length, "partition")} are reset. Start its workers, and it goes on from there.`, { tone: "good", seconds: 0 });
  });
});
arrange();
