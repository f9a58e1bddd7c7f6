// Copy buttons. Without a secure context there is no clipboard API, and a selection with execCommand does it.
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  field.setAttribute("readonly", "");
  field.className = "visually-hidden";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  if (!done) throw new Error("the browser doesn't allow copying");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  event.preventDefault();
  event.stopPropagation();
  const source = button.dataset.copyFrom ? document.getElementById(button.dataset.copyFrom) : null;
  try {
    await copyText(source ? source.textContent : button.dataset.copy);
  } catch {
    return;
  }
  button.classList.add("done");
  const label = button.getAttribute("aria-label");
  button.setAttribute("aria-label", "Copied");
  setTimeout(() => {
    button.classList.remove("done");
    if (label) button.setAttribute("aria-label", label);
  }, 1500);
});
