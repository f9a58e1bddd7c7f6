// Browsing a topic: look after look, each about a second, until there are enough rows, the end, or Stop.
import { call, Problem } from "./api.js";
import { notice } from "./notices.js";
import { ago, exact } from "./time.js";

const ROWS = 50;
const panel = document.getElementById("browse");
const form = panel.querySelector("[data-browse]");
const table = panel.querySelector("[data-records]");
const body = table.tBodies[0];
const [effort, nothing, more, stop] = ["effort", "nothing", "more", "stop"].map((name) => panel.querySelector(`[data-${name}]`));
const dialog = document.getElementById("record");
const topic = panel.dataset.topic;
let looking = null; // the current search; another one, or Stop, ends it
let cursor = null;
let spent = { scanned: 0, bytes: 0, seconds: 0 };

function cell(row, label, text, className = "") {
  const td = row.insertCell();
  td.dataset.label = label;
  td.className = className;
  td.textContent = text;
  return td;
}

function add(record) {
  const row = body.insertRow();
  row.className = "linked";
  const place = cell(row, "Place", "", "nowrap");
  const open = document.createElement("a");
  open.className = "row-link mono";
  open.href = `?start=${record.offset}&partition=${record.partition}`;
  open.textContent = `[${record.partition}]@${record.offset}`;
  open.addEventListener("click", (event) => { if (!event.ctrlKey && !event.metaKey) { event.preventDefault(); show(record); } });
  place.append(open);
  const written = cell(row, "Written", ago(record.timestampMs), "nowrap");
  written.title = exact(record.timestampMs);
  cell(row, "Key", record.key ?? "none", record.key === null ? "muted" : "foreign mono cut narrow");
  const event = cell(row, "Event", record.eventId ? "" : "–", "nowrap");
  if (record.eventId) {
    const link = document.createElement("a");
    link.href = `/events/${encodeURIComponent(record.eventId)}`;
    link.className = "mono foreign";
    link.textContent = record.eventId.length > 17 ? `${record.eventId.slice(0, 8)}…${record.eventId.slice(-4)}` : record.eventId;
    link.title = record.eventId;
    event.append(link);
  }
  const text = record.data ?? record.value;
  cell(row, "Value", text === null ? "none" : `${text}${record.isCut ? " …" : ""}`, text === null ? "muted" : "mono foreign cut");
  cell(row, "Size", size(record.size), "number");
}

function size(bytes) {
  return bytes < 1000 ? `${bytes} B` : bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

async function show(record) {
  const facts = dialog.querySelector("[data-facts]");
  const value = document.getElementById("record-value");
  value.textContent = record.value === null ? "none" : pretty(record.value);
  const fill = (pairs) => facts.replaceChildren(...pairs.flatMap(([name, text]) => {
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.textContent = text;
    dd.className = "foreign";
    return [dt, dd];
  }));
  const basics = [["Place", `${topic}[${record.partition}]@${record.offset}`], ["Written", exact(record.timestampMs)], ["Key", record.key ?? "none"], ["Size", size(record.size)]];
  fill(basics);
  dialog.showModal();
  try {
    const { data } = await call("GET", `/api/topics/${encodeURIComponent(topic)}/records/${record.partition}/${record.offset}`);
    if (data.value) value.textContent = data.value.encoding === "utf-8" ? pretty(data.value.text) : `${data.value.text}\n(base64: it isn't UTF-8)`;
    fill([...basics, ...(data.headers || []).map((header) => [header.name, header.text ?? "none"])]);
  } catch (error) {
    if (record.isCut) notice(error.message, { tone: "bad" });
  }
}

function tell(done) {
  effort.textContent = `${done ? "looked at" : "looking, so far"} ${spent.scanned.toLocaleString("en")} records, ${size(spent.bytes)}, in ${spent.seconds.toFixed(1)} s`;
}

function start() {
  const kind = form.elements.start.value;
  if (kind === "offset") return form.elements.offset.value || "0";
  if (kind === "time") return form.elements.at.value ? new Date(form.elements.at.value).toISOString() : "newest";
  return kind;
}

function query(following) {
  const parameters = new URLSearchParams({ start: start(), limit: ROWS, q: form.elements.q.value });
  if (form.elements.partition.value) parameters.set("partition", form.elements.partition.value);
  if (following) parameters.set("cursor", following);
  return parameters;
}

async function look(following) {
  const mine = (looking = {});
  if (!following) {
    body.replaceChildren();
    spent = { scanned: 0, bytes: 0, seconds: 0 };
    const shown = query();
    shown.delete("limit");
    history.replaceState(null, "", `?${shown}`);
  }
  stop.hidden = false;
  more.hidden = nothing.hidden = true;
  const wanted = body.rows.length + ROWS;
  cursor = following;
  try {
    do {
      const found = await call("GET", `/api/topics/${encodeURIComponent(topic)}/records?${query(cursor)}`);
      if (looking !== mine) return;
      for (const record of found.data) add(record);
      spent.scanned += found.effort.scanned;
      spent.bytes += found.effort.bytes;
      spent.seconds += found.effort.seconds;
      table.hidden = body.rows.length === 0;
      tell(false);
      cursor = found.next;
      if (found.effort.silentPartitions.length) notice(`Partition ${found.effort.silentPartitions.join(", ")} gave nothing for a second: compaction or transactions left gaps there, or the broker is slow.`);
    } while (cursor && body.rows.length < wanted);
  } catch (error) {
    if (looking !== mine) return;
    notice(error instanceof Problem ? error.message : String(error), { tone: "bad" });
  }
  finish();
}

function finish() {
  looking = null;
  stop.hidden = true;
  more.hidden = !cursor;
  tell(true);
  nothing.hidden = body.rows.length > 0;
  nothing.textContent = cursor ? "Nothing found so far." : form.elements.q.value ? "Nothing holds this text from here on. Look from the oldest, or in all partitions." : "There are no records from here on. Look from the newest or the oldest.";
}

function showFields() {
  for (const field of form.querySelectorAll("[data-for]")) field.hidden = field.dataset.for !== form.elements.start.value;
}

const time = form.elements.at.dataset.time;
if (time && !Number.isNaN(Date.parse(time))) {
  const at = new Date(time);
  form.elements.at.value = new Date(at - at.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}
form.elements.start.addEventListener("change", showFields);
form.addEventListener("submit", (event) => { event.preventDefault(); look(null); });
stop.addEventListener("click", () => { looking = null; finish(); });
more.addEventListener("click", () => look(cursor));
showFields();
look(null);
