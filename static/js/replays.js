// What is done to replays: run a plan, pause, resume, cancel, dismiss what is over. Progress comes by the page's room.
import { call } from "./api.js";
import { notice } from "./notices.js";

const DISMISSED = "dismissed-replays";
const failed = (error) => notice(error.message, { tone: "bad" });
const number = (n) => n.toLocaleString("en");

function refreshUnlessLive() {
  if (document.documentElement.dataset.live !== "live") location.reload();
}

// -- dismissed ones are this browser's business: others may still want to see how it ended ------------------------------

function dismissed() {
  try { return JSON.parse(localStorage.getItem(DISMISSED)) || []; } catch { return []; }
}

function dismiss(id) {
  try { localStorage.setItem(DISMISSED, JSON.stringify([...dismissed(), id].slice(-200))); } catch { /* then only for now */ }
  hideDismissed(id);
}

function hideDismissed(also = "") {
  const gone = new Set([...dismissed(), also]);
  for (const element of document.querySelectorAll("[data-dismissible]")) element.hidden = gone.has(element.dataset.dismissible);
}

// -- verbs --------------------------------------------------------------------------------------------------------------

async function mayCancel({ waiting }) {
  const dialog = document.getElementById("confirm-cancel");
  if (!dialog || !Number(waiting)) return true;
  dialog.querySelector("[data-cancel-text]").textContent = `${number(Number(waiting))} that aren't sent yet stay open; what was sent stays sent.`;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

async function act(button) {
  const { replayVerb: verb, replayId: id } = button.dataset;
  if (verb === "cancel" && !(await mayCancel(button.dataset))) return;
  button.disabled = true;
  try {
    await call("POST", `/api/replays/${id}/${verb}`);
    if (button.closest("[data-run]")) location.assign("/dead-letters");
    else refreshUnlessLive();
  } catch (error) {
    button.disabled = false;
    failed(error);
  }
}

// -- plans --------------------------------------------------------------------------------------------------------------

const form = document.querySelector("[data-run]");

function wanted() {
  const value = (name) => (form.elements[name].value.trim() === "" ? null : Number(form.elements[name].value));
  const canary = value("canary");
  return { canary, stopAtPercent: canary === null ? null : value("stopAtPercent"), rate: value("rate") };
}

function nameButton() {
  const { canary } = wanted();
  const total = Number(form.dataset.total);
  form.querySelector("[data-run-button]").textContent = canary && canary < total ? `Start with ${number(canary)}` : `Replay ${number(total)} to ${form.dataset.target}`;
  form.elements.stopAtPercent.disabled = canary === null;
}

async function run(event) {
  event.preventDefault();
  const problem = form.querySelector("[data-run-problem]");
  problem.textContent = "";
  for (const field of form.elements) field.removeAttribute?.("aria-invalid");
  const button = form.querySelector("[data-run-button]");
  button.disabled = true;
  const body = Object.fromEntries(Object.entries(wanted()).filter(([, value]) => value !== null));
  try {
    await call("POST", `/api/replays/${form.dataset.run}/run`, body);
    location.reload();
  } catch (error) {
    button.disabled = false;
    problem.textContent = error.message;
    for (const { field } of error.errors) {
      const input = form.elements[field];
      if (input) { input.setAttribute("aria-invalid", "true"); input.focus(); }
    }
  }
}

async function replan(button) {
  button.disabled = true;
  try {
    const { data: old } = await call("GET", `/api/replays/${form.dataset.run}`);
    const choice = old.filter.ids ? { ids: old.filter.ids } : { filter: asApi(old.filter) };
    // What nothing was left out for has been confirmed, or needs no confirmation.
    const takes = (name) => button.dataset.replan === name || !document.querySelector(`[data-replan="${name}"]`);
    const { data } = await call("POST", "/api/replays", { ...choice, reason: old.reason, force: takes("force"), allGroups: takes("allGroups") });
    await call("POST", `/api/replays/${old.id}/cancel`).catch(() => {});
    location.assign(`/replays/${data.id}`);
  } catch (error) {
    button.disabled = false;
    failed(error);
  }
}

async function changeRate(event) {
  event.preventDefault();
  const [field, button] = [event.target.elements.rate, event.target.querySelector("button")];
  field.removeAttribute("aria-invalid");
  button.disabled = true;
  try {
    await call("POST", `/api/replays/${event.target.dataset.rate}/rate`, { rate: field.value.trim() === "" ? null : Number(field.value) });
    location.reload();
  } catch (error) {
    button.disabled = false;
    field.setAttribute("aria-invalid", "true");
    failed(error);
  }
}

function asApi(filter) {
  return Object.fromEntries(Object.entries(filter).filter(([name]) => name !== "topics").map(([name, value]) => [name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase()), value]));
}

document.querySelector("[data-rate]")?.addEventListener("submit", changeRate);
if (form) {
  form.addEventListener("input", nameButton);
  form.addEventListener("submit", run);
  nameButton();
}
document.addEventListener("click", (event) => {
  const verb = event.target.closest("[data-replay-verb]");
  const gone = event.target.closest("[data-dismiss]");
  const again = event.target.closest("[data-replan]");
  if (verb && !verb.disabled) act(verb);
  else if (gone) dismiss(gone.dataset.dismiss);
  else if (again && !again.disabled) replan(again);
});
hideDismissed();
for (const name of ["htmx:afterSwap", "htmx:afterSettle"]) document.addEventListener(name, () => hideDismissed());
// Another state has other parts: a plan that somebody else has started is no form any more.
document.addEventListener("live:data", ({ detail: { room, data } }) => {
  const page = document.querySelector("[data-live-replay]");
  if (room !== "replay" || !data || !page || data.state === page.dataset.was) return;
  if (page.dataset.was === "planned") location.reload();
  page.dataset.was = data.state;
});
