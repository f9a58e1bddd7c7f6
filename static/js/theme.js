// Light, dark, or as the system; kept in a cookie, so that the server draws the page right at once.
const ORDER = ["", "light", "dark"];
const NAMES = { "": "System", light: "Light", dark: "Dark" };

function show() {
  const theme = document.documentElement.dataset.theme || "";
  for (const label of document.querySelectorAll("[data-theme-name]")) label.textContent = `Theme: ${NAMES[theme]}`;
}

export function nextTheme() {
  const theme = ORDER[(ORDER.indexOf(document.documentElement.dataset.theme || "") + 1) % ORDER.length];
  document.documentElement.dataset.theme = theme;
  document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax`;
  show();
  document.dispatchEvent(new CustomEvent("theme:changed"));
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-action='theme']")) nextTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("theme:changed")));
show();
