// The card whose panel is open is marked, its cables are lit, and it is kept in sight.

import { reveal, world } from "./canvas-view.js";
import { light } from "./canvas-wires.js";

const panel = document.getElementById("panel");

/** The topic of the card that the open panel is about, or "". */
const wanted = () => panel.querySelector("[data-node-of-panel]")?.dataset.nodeOfPanel ?? "";

let shown = null;

export const selected = () => world?.querySelector("[data-ui-selected]") ?? null;

function mark() {
  const topic = wanted();
  const node = topic ? document.getElementById(`node-${topic}`) : null;
  for (const other of world.querySelectorAll("[data-ui-selected]")) {
    if (other === node) continue;
    delete other.dataset.uiSelected;
    other.querySelector(".node__open").removeAttribute("aria-current");
  }
  if (node) {
    node.dataset.uiSelected = "";
    node.querySelector(".node__open").setAttribute("aria-current", "true");
  }
  light(topic);
  if (topic !== shown && node) reveal(node);
  shown = topic;
}

if (world) {
  mark();
  document.addEventListener("htmx:after:swap", mark);
}
