// The canvas by keyboard: one stop per card, arrows to the nearest card, Enter opens and then goes into the bays.

import { boxOf } from "./canvas-place.js";
import { nudge } from "./canvas-drag.js";
import { choose, clear, linkOf, nodes, selected, toggle } from "./canvas-select.js";
import { fit, isDrawn, panBy, reveal, stage, world, zoomIn, zoomOut } from "./canvas-view.js";
import { singleKey, typing } from "./shortcuts.js";

const PAN_PX = 96;
const ASIDE = 2.5; // a card off the direction counts as that much farther
const BAYS_PER_ROW = 6;

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// ── From card to card ────────────────────────────────────────────────────────

function nearest(from, [dx, dy]) {
  const centre = (node) => {
    const { x, y, w, h } = boxOf(node);
    return [x + w / 2, y + h / 2];
  };
  const [x, y] = centre(from);
  let best = null;
  let least = Infinity;
  for (const node of nodes()) {
    const at = centre(node);
    const along = (at[0] - x) * dx + (at[1] - y) * dy;
    const across = Math.abs((at[0] - x) * dy) + Math.abs((at[1] - y) * dx);
    if (node === from || along <= 0 || across > along * ASIDE) continue;
    const far = along + across * ASIDE;
    if (far < least) [best, least] = [node, far];
  }
  return best;
}

function neighbour(node, direction) {
  if (isDrawn()) return nearest(node, direction);
  const all = nodes();
  return all[all.indexOf(node) + (direction[0] + direction[1])];
}

function onNode(event, node) {
  const direction = DIRECTIONS[event.key];
  if (direction && event.altKey) {
    if (isDrawn()) nudge(node, ...direction);
    return true;
  }
  if (direction && !event.shiftKey) {
    linkOf(neighbour(node, direction))?.focus();
    return true;
  }
  if (event.key === " " && !event.shiftKey) {
    toggle(node);
    return true;
  }
  // A second Enter: the panel is open already.
  if (event.key === "Enter" && node === selected()) {
    const bay = node.querySelector(".bay");
    bay?.focus();
    return Boolean(bay);
  }
  return false;
}

function onBay(event, bay) {
  const node = bay.closest("[data-node]");
  if (event.key === "Escape") {
    linkOf(node).focus();
    return true;
  }
  const direction = DIRECTIONS[event.key];
  if (!direction || event.altKey || event.shiftKey) return false;
  const bays = [...node.querySelectorAll(".bay")];
  bays[bays.indexOf(bay) + direction[0] + direction[1] * BAYS_PER_ROW]?.focus();
  return true;
}

/** Whether the keys of the canvas are meant: nothing is typed, and no dialog or menu is open. */
function free(event) {
  if (event.defaultPrevented || event.isComposing || typing(event.target)) return false;
  return !document.querySelector("dialog[open], [popover]:popover-open:not(.tip)");
}

function onAnyKey(event) {
  if (!free(event) || event.target.closest(".panel")) return;
  if (event.key === "Escape" && clear()) event.preventDefault(); // the next one closes the panel
  if (event.key.toLowerCase() === "a" && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) {
    event.preventDefault();
    choose(nodes());
  }
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey) return;
  const bay = event.target.closest(".bay");
  const node = event.target.closest("[data-node]");
  const done = bay ? onBay(event, bay) : event.target.matches(".node__open") && onNode(event, node);
  if (!done && event.shiftKey && DIRECTIONS[event.key] && isDrawn() && !event.target.closest(".panel")) {
    const [dx, dy] = DIRECTIONS[event.key];
    panBy(-dx * PAN_PX, -dy * PAN_PX);
    event.preventDefault();
  }
  if (!done) return;
  event.preventDefault();
  event.stopPropagation(); // Esc in a bay does not close the panel as well
}

// ── Between canvas and panel ─────────────────────────────────────────────────

function otherSide() {
  const panel = document.getElementById("panel");
  const inPanel = panel?.contains(document.activeElement);
  const title = document.getElementById("panel-title");
  if (!inPanel && title) title.focus();
  else (linkOf(selected()) ?? linkOf(nodes()[0]) ?? stage).focus();
}

if (world) {
  stage.addEventListener("keydown", onKey);
  document.addEventListener("keydown", onAnyKey);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "F6" || event.ctrlKey || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    otherSide();
  });
  stage.addEventListener("focusin", (event) => {
    const node = event.target.closest("[data-node]");
    if (node && event.target.matches(":focus-visible")) reveal(node);
  });
  singleKey("+", zoomIn);
  singleKey("=", zoomIn);
  singleKey("-", zoomOut);
  singleKey("1", () => isDrawn() && fit());
  singleKey("2", () => {
    const node = selected() ?? document.activeElement.closest?.("[data-node]");
    if (node && isDrawn()) fit(boxOf(node), 1);
  });
}
