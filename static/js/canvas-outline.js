// The canvas or its outline: by choice (O), and always the outline in a narrow window.

import { fit, isDrawn, stage, view, world } from "./canvas-view.js";

const root = document.documentElement;
const narrow = matchMedia("(width < 40rem)");
const button = document.querySelector('[data-shortcut="outline"]');

let chosen = localStorage.getItem("outline") === "on";

function apply() {
  const drawn = !chosen && !narrow.matches;
  const was = isDrawn();
  if (drawn) root.dataset.uiCanvas = "";
  else delete root.dataset.uiCanvas;
  button?.setAttribute("aria-pressed", String(chosen));
  if (drawn && !was && !Number.isFinite(view.zoom)) fit();
}

function toggle() {
  chosen = !chosen;
  if (chosen) localStorage.setItem("outline", "on");
  else localStorage.removeItem("outline");
  apply();
  if (!isDrawn()) stage.querySelector(".stage-scroll").scrollTop = 0;
}

if (world) {
  apply();
  button?.addEventListener("click", () => !narrow.matches && toggle());
  narrow.addEventListener("change", apply);
}
