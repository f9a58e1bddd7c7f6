// The page of one group: pause and resume it, and say when its workers obey.
import { call } from "./api.js";
import { notice } from "./notices.js";

const PATIENCE = 15000;
const stack = () => document.querySelector("[data-group-api]");
const asked = new Map(); // topic or "" → {verb, at}: what was asked for and isn't confirmed yet

function spent(since) {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

function named(topic) {
  return topic ? topic : "the group";
}

async function change(verb, topic, reason, button) {
  if (button) button.disabled = true;
  const at = performance.now();
  try {
    const answer = await call("POST", `${stack().dataset.groupApi}/${verb}`, { ...(topic ? { topic } : {}), ...(reason ? { reason } : {}) });
    asked.set(topic, { verb, at });
    setTimeout(() => giveUp(topic, at), PATIENCE);
    if (answer.data?.told === false) notice("It is written down, but Redis is away: workers hear of it when it is back.", { tone: "bad" });
    look();
  } finally {
    if (button) button.disabled = false;
  }
}

// The rows of the page say how many workers obey; the first state that all do is the confirmation.
function look() {
  for (const [topic, { verb, at }] of asked) {
    const row = [...document.querySelectorAll("[data-paused]")].find((each) => each.dataset.paused === topic);
    if (verb === "pause" && row) {
      const { obeying, workers } = row.dataset;
      if (Number(obeying) < Number(workers)) continue;
      asked.delete(topic);
      const took = Number(workers) ? `${obeying} of ${workers} ${workers === "1" ? "worker" : "workers"} paused ${named(topic)}, ${spent(at)}` : `No worker of it runs; ${named(topic)} stays paused for those that come`;
      const beside = row.querySelector("[data-took]");
      if (beside && Number(workers)) beside.textContent = `, after ${spent(at)}`;
      notice(`${took}.`, { tone: "good" });
    } else if (verb === "resume" && !row) {
      asked.delete(topic);
      notice(`Resumed ${named(topic)}; workers go on within 2 s.`, { tone: "good" });
    }
  }
}

function giveUp(topic, at) {
  if (asked.get(topic)?.at !== at) return;
  asked.delete(topic);
  const row = [...document.querySelectorAll("[data-paused]")].find((each) => each.dataset.paused === topic);
  if (row) notice(`After ${PATIENCE / 1000} s only ${row.dataset.obeying} of ${row.dataset.workers} workers say that they paused ${named(topic)}.`, { tone: "bad" });
}

document.addEventListener("live:placed", look);

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("[data-pause-form]");
  if (!form) return;
  event.preventDefault();
  const problem = form.querySelector(".problem");
  problem.hidden = true;
  try {
    await change("pause", form.elements.topic.value, form.elements.reason.value.trim(), form.querySelector("[type=submit]"));
    form.closest("dialog").close();
    form.reset();
  } catch (error) {
    problem.textContent = error.message;
    problem.hidden = false;
  }
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-resume]");
  if (!button || button.disabled) return;
  try {
    await change("resume", button.dataset.resume, "", button);
  } catch (error) {
    notice(error.message, { tone: "bad" });
  }
});
