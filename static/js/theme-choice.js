// The theme in the account menu: the system's, light or dark. Kept in this browser; theme.js applies it first.

const root = document.documentElement;
const choices = [...document.querySelectorAll("[data-theme-choice]")];

function show() {
  const now = root.dataset.theme ?? "";
  for (const choice of choices) choice.setAttribute("aria-checked", String(choice.dataset.themeChoice === now));
}

function choose(theme) {
  if (theme) {
    root.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  } else {
    delete root.dataset.theme;
    localStorage.removeItem("theme");
  }
  show();
}

for (const choice of choices) choice.addEventListener("click", () => choose(choice.dataset.themeChoice));
show();
