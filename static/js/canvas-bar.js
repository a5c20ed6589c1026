// The bar under what is selected: what can be done with it, by mouse or finger. The keys are in canvas-edit.js.

import { followCards } from "./canvas-drag.js";
import { acts } from "./canvas-edit.js";
import { followSelection, nameOf, selection } from "./canvas-select.js";
import { world } from "./canvas-view.js";

const bar = document.getElementById("nodebar");

function show() {
  const nodes = selection();
  bar.hidden = !nodes.length || nodes.some((node) => "uiDragging" in node.dataset);
  if (bar.hidden) return;
  const boxes = nodes.map((node) => {
    const at = (name) => Number(node.style.getPropertyValue(name));
    return { x: at("--x"), bottom: at("--y") + Math.max(at("--h"), node.offsetHeight) };
  });
  bar.style.setProperty("--x", Math.min(...boxes.map(({ x }) => x)));
  bar.style.setProperty("--y", Math.max(...boxes.map(({ bottom }) => bottom)));
  const several = nodes.length > 1;
  bar.setAttribute("aria-label", several ? `${nodes.length} selected cards` : nameOf(nodes[0]));
  const count = bar.querySelector("[data-bar-count]");
  count.hidden = !several;
  count.textContent = several ? `${nodes.length} selected` : "";
  for (const button of bar.querySelectorAll("[data-one]")) button.hidden = several;
}

function onKey(event) {
  const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...bar.querySelectorAll("button:not([hidden])")];
  event.preventDefault();
  event.stopPropagation();
  buttons[(buttons.indexOf(document.activeElement) + way + buttons.length) % buttons.length]?.focus();
}

if (world) {
  followSelection(show);
  followCards(show);
  document.addEventListener("htmx:after:swap", show);
  bar.addEventListener("keydown", onKey);
  bar.addEventListener("click", (event) => {
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (act) acts[act](selection());
  });
  show();
}
