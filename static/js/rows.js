// Rows by keyboard (j, k, Enter, x) and selections: [data-select-all] and input[name=ids] within one [data-selection].
const rows = () => [...document.querySelectorAll("main tr.linked, main [data-row]")];

function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
  (next.querySelector("a.row-link") || next).focus();
}

document.addEventListener("key", (event) => {
  const { key, source } = event.detail;
  if (key === "j") move(1);
  else if (key === "k") move(-1);
  else if (key === "x") {
    const box = document.activeElement?.closest("tr, [data-row]")?.querySelector("input[name=ids]");
    if (box && !box.disabled) { box.checked = !box.checked; box.dispatchEvent(new Event("change", { bubbles: true })); }
  } else return;
  source.preventDefault();
});

/** The values that are selected within a [data-selection]. */
export function selected(scope) {
  return [...scope.querySelectorAll("input[name=ids]:checked")].map((box) => box.value);
}

document.addEventListener("change", (event) => {
  const scope = event.target.closest?.("[data-selection]");
  if (!scope) return;
  const boxes = [...scope.querySelectorAll("input[name=ids]:not(:disabled)")];
  if (event.target.matches("[data-select-all]")) for (const box of boxes) box.checked = event.target.checked;
  for (const box of boxes) box.closest("tr, [data-row]")?.classList.toggle("selected", box.checked);
  const count = boxes.filter((box) => box.checked).length;
  const all = scope.querySelector("[data-select-all]");
  if (all) { all.checked = count > 0 && count === boxes.length; all.indeterminate = count > 0 && count < boxes.length; }
  for (const label of scope.querySelectorAll("[data-selected-count]")) label.textContent = count;
  for (const part of scope.querySelectorAll("[data-with-selection]")) part.hidden = count === 0;
  scope.dispatchEvent(new CustomEvent("selection:changed", { detail: { count } }));
});
