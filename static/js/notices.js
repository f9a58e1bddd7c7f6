// Notices at the edge: what was done or refused, with what can be done about it. Text only: it may be somebody else's.
export function notice(text, { tone = "", action = null, seconds = tone === "bad" ? 0 : 8 } = {}) {
  const box = document.createElement("div");
  box.className = `notice ${tone}`;
  const words = document.createElement("p");
  words.textContent = text;
  box.append(words);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "button small";
    button.textContent = action.label;
    button.addEventListener("click", () => { action.run(); box.remove(); });
    box.append(button);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "button quiet small";
  close.textContent = "Dismiss";
  close.addEventListener("click", () => box.remove());
  box.append(close);
  document.getElementById("notices")?.append(box);
  if (seconds) setTimeout(() => box.remove(), seconds * 1000);
  return box;
}
