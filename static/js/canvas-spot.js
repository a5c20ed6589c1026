// Where copies shall stand, when beside their originals is not where one looks: at the pointer, or in the visible middle.

import { boxOf } from "./canvas-place.js";
import { isDrawn, room, stage, toWorld, view, world } from "./canvas-view.js";

const COVERS = ".panel, .tools, .minimap"; // what lies over the ground

let pointer = null; // [clientX, clientY] while it is over the ground or a card

function around(nodes) {
  const boxes = nodes.map(boxOf);
  const left = Math.min(...boxes.map(({ x }) => x));
  const top = Math.min(...boxes.map(({ y }) => y));
  const right = Math.max(...boxes.map(({ x, w }) => x + w));
  const bottom = Math.max(...boxes.map(({ y, h }) => y + h));
  return { x: left, y: top, w: right - left, h: bottom - top };
}

function isInSight({ x, y, w, h }) {
  const free = room();
  const [centreX, centreY] = [view.x + (x + w / 2) * view.zoom, view.y + (y + h / 2) * view.zoom];
  return centreX > 0 && centreX < free.width && centreY > 0 && centreY < free.height;
}

function middle() {
  const at = stage.getBoundingClientRect();
  const free = room();
  return toWorld(at.left + free.width / 2, at.top + free.height / 2);
}

/**
 * Answers {x, y} of the upper left corner, px of the world; {} for beside the originals. `byPointer`: a pointer over
 * the canvas says where.
 */
export function spotFor(nodes, { byPointer }) {
  if (!isDrawn() || !nodes.length) return {};
  const box = around(nodes);
  const pointed = byPointer && pointer;
  if (!pointed && isInSight(box)) return {};
  const { x, y } = pointed ? toWorld(...pointer) : middle();
  return { x: Math.round(x - box.w / 2), y: Math.round(y - box.h / 2) };
}

if (world) {
  stage.addEventListener("pointermove", (event) => {
    pointer = event.pointerType !== "touch" && !event.target.closest(COVERS) ? [event.clientX, event.clientY] : null;
  });
  stage.addEventListener("pointerleave", () => {
    pointer = null;
  });
}
