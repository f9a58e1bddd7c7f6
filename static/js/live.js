// The live side of a page. Elements name their room: <section data-room="overview" data-room-params='{"range":"1h"}'>.
// This module joins the rooms of the page and leaves those that are gone, whoever changed the page.
//
// What comes back: elements take the place of those with the same ids; the rest are events on the document,
// live:rows {room, params, rows, skipped, unseen, reset}, live:data {room, params, data}, live:clock {asOf, now},
// live:stale {room, params, problem}, live:fresh, live:refused {room, params, code, problem, scope}, live:state {state}.
//
// <html data-live> is connecting, live, stale, lost or login; [data-live-state] says it in words.
import { Connection } from "./socket.js";
import { hold, isHeld } from "./hold.js";
import { morph } from "./morph.js";
import { clock, exact, now, refresh, setServerTime } from "./time.js";

const OLD_MS = 5000;
const WORRYING_MS = 15000;
const WORDS = { connecting: "connecting", live: "live", stale: "not up to date", lost: "not connected", login: "logged out" };

const joined = new Map(); // room and params as text → {id, room, params, since, problem}
const byId = new Map();
const shown = new WeakMap(); // element → the text that it was made of
let lastId = 0;
let instance = null;
let asOf = 0;
let isTold = false; // since the connection was opened
let every = 0; // so many ms of age are as they should be

const connection = new Connection(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live`);

// -- rooms ----------------------------------------------------------------------------------------------------------

function wanted() {
  const rooms = new Map();
  for (const element of document.querySelectorAll("[data-room]")) {
    let params = {};
    try {
      params = JSON.parse(element.dataset.roomParams || "{}");
    } catch (error) {
      console.error("data-room-params isn't JSON", element, error);
    }
    for (const name of Object.keys(params)) params[name] = String(params[name]);
    const sorted = Object.fromEntries(Object.entries(params).sort());
    rooms.set(`${element.dataset.room} ${JSON.stringify(sorted)}`, { room: element.dataset.room, params: sorted });
  }
  return rooms;
}

function look() {
  const rooms = wanted();
  for (const [key, membership] of joined) {
    if (rooms.has(key)) continue;
    joined.delete(key);
    byId.delete(membership.id);
    connection.send({ type: "leave", id: membership.id });
  }
  for (const [key, { room, params }] of rooms) {
    if (joined.has(key)) continue;
    lastId = (lastId + 1) % 10000;
    const membership = { id: lastId, room, params, since: null, problem: "", isShown: false, isPaused: false };
    joined.set(key, membership);
    byId.set(membership.id, membership);
    join(membership);
  }
}

function join(membership) {
  const { id, room, params, since } = membership;
  membership.problem = "";
  mark(membership);
  connection.send({ type: "join", id, room, params, ...(since === null ? {} : { since, instance }) });
}

let isLooking = false;
function lookSoon() {
  if (isLooking) return;
  isLooking = true;
  queueMicrotask(() => { isLooking = false; look(); });
}

new MutationObserver((changes) => {
  // Most changes are of texts.
  if (changes.some(({ type, addedNodes, removedNodes }) => type === "attributes" || addedNodes.length + removedNodes.length)) lookSoon();
}).observe(document.body, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-room", "data-room-params"] });

/** Join a room again, as after a pause: rows come from where they ended. */
export function rejoin(room) {
  for (const membership of joined.values()) {
    if (membership.room !== room) continue;
    membership.isPaused = false;
    join(membership);
  }
}

/** Be told nothing of a room for now; `rejoin` goes on. */
export function pause(room) {
  for (const membership of joined.values()) {
    if (membership.room !== room) continue;
    membership.isPaused = true;
    connection.send({ type: "leave", id: membership.id });
  }
}

// -- frames ---------------------------------------------------------------------------------------------------------

const takes = {
  hello(frame) {
    if (instance !== null && instance !== frame.instance) for (const membership of joined.values()) membership.since = null;
    instance = frame.instance;
    setServerTime(frame.now);
  },
  fragment({ html }) { place(html); },
  rows(frame, membership) {
    membership.since = frame.last;
    tell("rows", membership, frame);
  },
  data: (frame, membership) => tell("data", membership, frame),
  clock(frame) {
    asOf = frame.asOf;
    every = frame.every;
    isTold = true;
    setServerTime(frame.now);
    document.dispatchEvent(new CustomEvent("live:clock", { detail: { asOf, now: frame.now } }));
  },
  stale(frame, membership) {
    membership.problem = frame.problem;
    mark(membership);
    tell("stale", membership, frame);
  },
  fresh(frame, membership) {
    membership.problem = "";
    mark(membership);
    tell("fresh", membership, frame);
  },
  refused(frame, membership) {
    if (membership) {
      // Nothing was shown that could be old, unless the permission, or the room, was taken away meanwhile.
      const isNothing = ["forbidden", "room"].includes(frame.code) && !membership.isShown;
      membership.problem = isNothing ? "" : frame.problem;
      if (frame.code !== "unavailable") console.warn("refused:", frame.problem);
      mark(membership);
      if (frame.code === "unavailable" || frame.code === "limit") setTimeout(() => { if (byId.get(membership.id)) join(membership); }, 5000);
    } else console.warn("refused:", frame.problem);
    tell("refused", membership || { room: frame.room, params: {} }, frame);
  },
  resync() {},
};

connection.addEventListener("frame", ({ detail: frame }) => {
  const membership = byId.get(frame.id);
  // Of a room that was left meanwhile.
  if (frame.id !== undefined && !membership) return;
  takes[frame.type]?.(frame, membership);
  if (frame.type === "fragment" || frame.type === "rows" || frame.type === "data") {
    membership.isShown = true;
    if (membership.problem && frame.type !== "rows") takes.fresh(frame, membership);
  }
  show();
});
connection.addEventListener("open", () => {
  isTold = false;
  for (const membership of joined.values()) if (!membership.isPaused) join(membership);
});
connection.addEventListener("change", show);

function tell(name, { room, params }, frame) {
  document.dispatchEvent(new CustomEvent(`live:${name}`, { detail: { ...frame, room, params } }));
}

function mark({ room, problem }) {
  for (const element of document.querySelectorAll(`[data-room="${CSS.escape(room)}"]`)) {
    if (problem) element.dataset.stale = problem;
    else delete element.dataset.stale;
  }
}

// -- swapping -------------------------------------------------------------------------------------------------------

function place(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const element of template.content.children) {
    const target = element.id && document.getElementById(element.id);
    if (!target) continue;
    const text = element.outerHTML;
    if (isHeld(target)) hold(target, text, swap);
    else swap(target, text);
  }
}

function swap(target, text) {
  const { id } = target;
  if (shown.get(target) === text) return;
  const template = document.createElement("template");
  template.innerHTML = text;
  const element = morph(target, template.content.firstElementChild);
  refresh(element);
  document.dispatchEvent(new CustomEvent("live:placed", { detail: { element } }));
  if (element) shown.set(element, text);
}

// -- saying how things are --------------------------------------------------------------------------------------------

let said = "";

function show() {
  const problems = [...new Set([...joined.values()].map((each) => each.problem).filter(Boolean))];
  const isOld = asOf > 0 && now() - asOf > OLD_MS + every;
  let state = connection.state;
  if (state === "open") state = !isTold ? "connecting" : isOld || problems.length ? "stale" : asOf ? "live" : "connecting";
  if (state !== said) {
    said = document.documentElement.dataset.live = state;
    for (const element of document.querySelectorAll("[data-live-state]")) element.textContent = WORDS[state];
    document.dispatchEvent(new CustomEvent("live:state", { detail: { state } }));
  }
  // Of a page that is only looked up, the frame around it says nothing about its age.
  const hasAge = asOf > 0 && document.querySelector("main [data-room]") !== null;
  for (const element of document.querySelectorAll("[data-as-of]")) {
    element.hidden = !hasAge;
    if (!hasAge) continue;
    write(element, `as of ${clock(asOf)}`);
    element.title = exact(asOf);
    element.classList.toggle("old", isOld);
  }
  showBanner(state, problems);
}

function showBanner(state, problems) {
  const banner = document.getElementById("live-banner");
  if (!banner) return;
  const since = asOf ? ` What you see is from ${clock(asOf)}.` : "";
  let text = "";
  let next = "";
  if (state === "login") text = `You are logged out.${since}`;
  else if (state === "lost") {
    text = `The connection is gone.${since || " What you see is no longer kept up to date."}`;
    const seconds = Math.ceil((connection.nextTryAt - Date.now()) / 1000);
    next = seconds > 0 ? `Next try in ${seconds} s` : "Trying";
  } else if (state === "stale") text = problems.length ? `Not up to date: ${problems.join("; ")}.${since}` : "";
  if (!text && state === "stale" && now() - asOf > WORRYING_MS + every) text = `Nothing new comes in.${since}`;
  banner.hidden = !text;
  banner.classList.toggle("red", state === "lost" || state === "login");
  write(banner.querySelector("[data-banner-text]"), text);
  write(banner.querySelector("[data-banner-next]"), next);
  const button = banner.querySelector("[data-action=reconnect]");
  if (!button) return;
  button.hidden = state === "stale";
  write(button, state === "login" ? "Log in" : "Try now");
}

function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("[data-action=reconnect]")) return;
  if (connection.state === "login") location.reload();
  else connection.tryNow();
});

// The login page has no frame around it, and nobody to be told anything.
if (document.querySelector("[data-live-state]")) {
  look();
  connection.start();
  setInterval(show, 500);
}
