// The bar under what is selected, and its menu: what can be done with it, by mouse or finger. The keys are in
// canvas-edit.js.

import { followCards } from "./canvas-drag.js";
import { acts } from "./canvas-edit.js";
import { followSelection, nameOf, selection } from "./canvas-select.js";
import { follow, room, stage, view, world } from "./canvas-view.js";

const bar = document.getElementById("nodebar");
const menu = document.getElementById("node-menu"); // not there for those who may only look

const GAP_PX = 16; // beyond the brackets of the selection
const EDGE_PX = 8;
const CORNER = ".minimap, .tools--zoom"; // what stands in the lower left corner

let around = null; // the box of all that is selected, px of the world
let size = null;

function boxAround(nodes) {
  const boxes = nodes.map((node) => {
    const at = (name) => Number(node.style.getPropertyValue(name));
    return [at("--x"), at("--y"), at("--x") + at("--w"), at("--y") + Math.max(at("--h"), node.offsetHeight)];
  });
  const [left, top] = [0, 1].map((side) => Math.min(...boxes.map((box) => box[side])));
  const [right, bottom] = [2, 3].map((side) => Math.max(...boxes.map((box) => box[side])));
  return { left, top, right, bottom };
}

function onStage(element) {
  const [{ left, top }, box] = [stage.getBoundingClientRect(), element.getBoundingClientRect()];
  return { right: box.right - left, top: box.top - top, bottom: box.bottom - top };
}

/** Below the selection; above it, or as near as possible, where the panel, the minimap or the edge is in the way. */
function place() {
  if (bar.hidden || !around) return;
  const free = room();
  const at = {
    left: view.x + around.left * view.zoom,
    top: view.y + around.top * view.zoom,
    right: view.x + around.right * view.zoom,
    bottom: view.y + around.bottom * view.zoom,
  };
  let left = at.left;
  let top = at.bottom + GAP_PX;
  const inSight = at.right > 0 && at.left < free.width && at.bottom > 0 && at.top < free.height;
  if (inSight) {
    const above = at.top - GAP_PX - size.height;
    left = Math.max(EDGE_PX, Math.min(left, free.width - size.width - EDGE_PX));
    const covered = (y) =>
      [...document.querySelectorAll(CORNER)].some((element) => {
        const other = onStage(element);
        return left < other.right && y + size.height > other.top && y < other.bottom;
      });
    const fits = (y) => y >= EDGE_PX && y + size.height <= free.height - EDGE_PX && !covered(y);
    if (!fits(top)) {
      if (fits(above)) top = above;
      else top = Math.max(EDGE_PX, Math.min(top, free.height - size.height - EDGE_PX));
      if (covered(top)) left = onStage(document.querySelector(CORNER)).right + EDGE_PX;
    }
  }
  bar.style.setProperty("--x", (left - view.x) / view.zoom);
  bar.style.setProperty("--y", (top - view.y) / view.zoom);
}

function show() {
  const nodes = selection();
  bar.hidden = !nodes.length || nodes.some((node) => "uiDragging" in node.dataset);
  if (bar.hidden) {
    if (menu?.matches(":popover-open")) menu.hidePopover();
    return;
  }
  around = boxAround(nodes);
  const several = nodes.length > 1;
  bar.setAttribute("aria-label", several ? `${nodes.length} selected cards` : nameOf(nodes[0]));
  const count = bar.querySelector("[data-bar-count]");
  count.hidden = !several;
  count.textContent = several ? `${nodes.length} selected` : "";
  const [node] = nodes;
  const fits = {
    one: !several,
    several,
    array: !several && !node.classList.contains("node--net"),
    pending: !several && "change" in node.dataset,
  };
  for (const place of [bar, menu]) {
    for (const button of place?.querySelectorAll("[data-for]") ?? []) button.hidden = !fits[button.dataset.for];
  }
  size = { width: bar.offsetWidth, height: bar.offsetHeight };
  place();
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
  follow(place);
  addEventListener("resize", place);
  document.addEventListener("htmx:after:swap", show);
  bar.addEventListener("keydown", onKey);
  for (const place of [bar, menu]) {
    place?.addEventListener("click", (event) => {
      const button = event.target.closest("[data-act]");
      if (button) acts[button.dataset.act](selection(), button);
    });
  }
  show();
}
