// Keys that work everywhere; none while somebody writes.
import { nextTheme } from "./theme.js";

const PLACES = { o: "/", e: "/events", d: "/dead-letters", r: "/replays", c: "/groups", t: "/topics", w: "/workers", p: "/publish", a: "/audit" };
let goesTo = 0;

function isWriting(target) {
  return target.closest("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]") !== null;
}

function help() {
  const dialog = document.getElementById("keys");
  if (dialog) dialog.open ? dialog.close() : dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !(event.target instanceof Element)) return;
  if (isWriting(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (goesTo && Date.now() - goesTo < 1500 && PLACES[event.key]) {
    goesTo = 0;
    event.preventDefault();
    location.assign(PLACES[event.key]);
    return;
  }
  goesTo = 0;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  switch (event.key) {
    case "g": goesTo = Date.now(); break;
    case "?": event.preventDefault(); help(); break;
    case "t": nextTheme(); break;
    case "/": {
      const field = document.querySelector("[data-search]");
      if (field) { event.preventDefault(); field.focus(); field.select?.(); }
      else location.assign("/events?search=");
      break;
    }
    default:
      document.dispatchEvent(new CustomEvent("key", { detail: { key: event.key, source: event } }));
  }
});
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-action='keys']")) help();
});
