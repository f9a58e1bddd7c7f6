// Native dialogs: opened by [data-opens="id"], closed by a click outside or [data-closes].
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  if (opener && !opener.disabled) {
    const dialog = document.getElementById(opener.dataset.opens);
    dialog?.dispatchEvent(new CustomEvent("dialog:open", { detail: { opener } }));
    dialog?.showModal();
    return;
  }
  if (event.target.closest("[data-closes]")) event.target.closest("dialog")?.close();
  else if (event.target instanceof HTMLDialogElement && event.target.open) {
    const box = event.target.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) event.target.close();
  }
});
