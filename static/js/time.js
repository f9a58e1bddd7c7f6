// Times in words, kept up to date; exact in the browser's zone on hover.
const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
let serverAhead = 0; // ms that the server's clock is ahead of ours, as its frames tell

export function setServerTime(ms) {
  serverAhead = ms - Date.now();
}

export function now() {
  return Date.now() + serverAhead;
}

export function duration(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return seconds < 10 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds)} s`;
  const whole = Math.floor(seconds);
  if (whole < 3600) return whole % 60 ? `${Math.floor(whole / 60)} min ${whole % 60} s` : `${whole / 60} min`;
  if (whole < 172800) {
    const minutes = Math.floor((whole % 3600) / 60);
    return minutes ? `${Math.floor(whole / 3600)} h ${minutes} min` : `${Math.floor(whole / 3600)} h`;
  }
  return `${Math.floor(whole / 86400)} days`;
}

export function ago(ms) {
  const seconds = (now() - ms) / 1000;
  if (seconds < -1) return `in ${coarse(-seconds)}`;
  if (seconds < 1.5) return "just now";
  return `${coarse(seconds)} ago`;
}

function coarse(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

export function clock(ms) {
  return CLOCK.format(new Date(ms));
}

export function exact(ms) {
  return EXACT.format(new Date(ms));
}

function refresh(root = document) {
  for (const element of root.querySelectorAll("time[data-ago]")) {
    const ms = Date.parse(element.dateTime);
    set(element, ago(ms));
    element.title = exact(ms);
  }
  for (const element of root.querySelectorAll("time[data-until]")) {
    const left = (Date.parse(element.dateTime) - now()) / 1000;
    set(element, left > 0 ? `in ${coarse(left + 0.999)}` : "now");
    element.title = exact(Date.parse(element.dateTime));
  }
  for (const element of root.querySelectorAll("time[data-clock]")) set(element, clock(Date.parse(element.dateTime)));
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

refresh();
setInterval(refresh, 1000);
document.addEventListener("htmx:afterSettle", () => refresh());
document.addEventListener("htmx:oobAfterSwap", () => refresh());
export { refresh };
