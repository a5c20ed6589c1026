// The minimap: where the window is on the whole drawing, and a way to move it.

import { fit, follow, move, room, view, world } from "./canvas-view.js";

const minimap = document.getElementById("minimap");

function show() {
  const frame = minimap.querySelector("[data-view]");
  const free = room();
  frame.setAttribute("x", -view.x / view.zoom);
  frame.setAttribute("y", -view.y / view.zoom);
  frame.setAttribute("width", free.width / view.zoom);
  frame.setAttribute("height", free.height / view.zoom);
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
