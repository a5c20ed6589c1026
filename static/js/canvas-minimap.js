// The minimap: where the window is on the whole drawing, and a way to move it.

import { fit, follow, move, room, view, world } from "./canvas-view.js";

const MAP_WIDTH_PX = 184;
const INSET_PX = 3;

const minimap = document.getElementById("minimap");

function show() {
  const frame = minimap.querySelector("[data-view]");
  const free = room();
  const all = minimap.viewBox.baseVal;
  const edge = (all.width / MAP_WIDTH_PX) * INSET_PX;
  const clamp = (value, from, length) => Math.min(from + length - edge, Math.max(from + edge, value));
  const left = clamp(-view.x / view.zoom, all.x, all.width);
  const top = clamp(-view.y / view.zoom, all.y, all.height);
  frame.setAttribute("x", left);
  frame.setAttribute("y", top);
  frame.setAttribute("width", clamp((free.width - view.x) / view.zoom, all.x, all.width) - left);
  frame.setAttribute("height", clamp((free.height - view.y) / view.zoom, all.y, all.height) - top);
}

/** Brings the pressed place into the middle of the window. */
function go(event) {
  const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(minimap.getScreenCTM().inverse());
  const free = room();
  move({ x: free.width / 2 - at.x * view.zoom, y: free.height / 2 - at.y * view.zoom });
}

if (world && minimap) {
  minimap.addEventListener("pointerdown", (event) => {
    minimap.setPointerCapture(event.pointerId);
    go(event);
  });
  minimap.addEventListener("pointermove", (event) => minimap.hasPointerCapture(event.pointerId) && go(event));
  minimap.addEventListener("dblclick", () => fit());
  follow(show);
  show();
  document.addEventListener("htmx:after:swap", show);
  addEventListener("resize", show);
}
