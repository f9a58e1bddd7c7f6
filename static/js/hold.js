// Nothing moves under the hand: regions marked data-hold aren't changed while the pointer, the focus or a selection is
// in them. The newest state waits, and a button says so. It is shown when asked for, or when the hand is gone; with
// data-hold="until-asked" only when asked for.
const waiting = new Map(); // id of an element → {text, region, swap}
const buttons = new Map(); // region → its button
const CAN_HOVER = matchMedia("(hover: hover)");

function isTouched(region) {
  if (CAN_HOVER.matches && region.matches(":hover")) return true;
  const active = document.activeElement;
  if (active && active !== document.body && region.contains(active)) return true;
  const selection = getSelection();
  return Boolean(selection && !selection.isCollapsed && selection.rangeCount && selection.getRangeAt(0).intersectsNode(region));
}

function regionsOf(target) {
  const around = target.closest("[data-hold]");
  return around ? [around] : [...target.querySelectorAll("[data-hold]")];
}

export function isHeld(target) {
  return regionsOf(target).some((region) => isTouched(region) || buttons.has(region));
}

/** Keep `text` until the region is let go of; a later one takes its place. */
export function hold(target, text, swap) {
  const regions = regionsOf(target);
  const region = regions.find((each) => buttons.has(each)) || regions.find(isTouched);
  waiting.set(target.id, { text, region, swap });
  if (buttons.has(region)) return;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button small live-held";
  button.textContent = "updated – show";
  button.addEventListener("click", () => release(region));
  buttons.set(region, button);
  region.before(button); // next in the order of the keyboard
  follow();
}

// At the upper edge of what is visible of the region.
function follow() {
  for (const [region, button] of buttons) {
    const { top, left, width } = region.getBoundingClientRect();
    button.style.top = `${Math.max(64, top - 14)}px`;
    button.style.left = `${left + width / 2}px`;
  }
}
addEventListener("scroll", follow, { passive: true, capture: true });
addEventListener("resize", follow);

function release(region) {
  buttons.get(region)?.remove();
  buttons.delete(region);
  for (const [id, each] of [...waiting]) {
    if (each.region !== region) continue;
    waiting.delete(id);
    const target = document.getElementById(id);
    if (target) each.swap(target, each.text);
  }
}

setInterval(() => {
  follow();
  for (const [region, button] of [...buttons]) {
    if (!region.isConnected || !(isTouched(region) || region.dataset.hold === "until-asked" || button.matches(":focus"))) release(region);
  }
}, 300);
