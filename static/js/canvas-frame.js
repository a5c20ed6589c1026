// A frame around several cards: dragged on the ground with Shift, or without when the Select tool is on. With a finger:
// the tool, or a long press on a card, which adds it to what is selected.

import { boxOf } from "./canvas-place.js";
import { choose, clear, nodes, selection, toggle } from "./canvas-select.js";
import { isDrawn, stage, toWorld, world } from "./canvas-view.js";

const START_PX = 4;
const LONG_MS = 500;
const CLICK_MS = 300; // so long after a finger is lifted its click may come

const frame = document.getElementById("marquee");
const button = document.querySelector('[data-shortcut="select"]');

let tool = false;
let drawn = null; // {pointer, from, base, boxes, moved}

/** Whether a press on the ground begins a frame and does not move the window. */
export const frames = (event) => event.button === 0 && (tool || event.shiftKey);

function setTool(on) {
  tool = on;
  button?.setAttribute("aria-pressed", String(on));
  if (on) stage.dataset.uiSelecting = "";
  else delete stage.dataset.uiSelecting;
}

/** Begins at a press on the ground. */
export function beginFrame(event) {
  drawn = {
    pointer: event.pointerId,
    client: [event.clientX, event.clientY],
    from: toWorld(event.clientX, event.clientY),
    base: event.shiftKey ? selection() : [],
    boxes: nodes().map((node) => ({ node, ...boxOf(node) })),
    moved: false,
  };
}

function onMove(event) {
  if (event.pointerId !== drawn?.pointer) return;
  const far = Math.hypot(event.clientX - drawn.client[0], event.clientY - drawn.client[1]);
  if (!drawn.moved && far < START_PX) return;
  if (!drawn.moved) stage.setPointerCapture(event.pointerId);
  drawn.moved = true;
  const to = toWorld(event.clientX, event.clientY);
  const box = {
    x: Math.min(drawn.from.x, to.x),
    y: Math.min(drawn.from.y, to.y),
    w: Math.abs(drawn.from.x - to.x),
    h: Math.abs(drawn.from.y - to.y),
  };
  for (const side of ["x", "y", "w", "h"]) frame.style.setProperty(`--${side}`, box[side]);
  frame.hidden = false;
  drawn.inside = new Set();
  for (const { node, x, y, w, h } of drawn.boxes) {
    const inside = x < box.x + box.w && box.x < x + w && y < box.y + box.h && box.y < y + h;
    if (inside) drawn.inside.add(node);
    if (inside) node.dataset.uiFramed = "";
    else delete node.dataset.uiFramed;
  }
}

function end(event) {
  if (event.pointerId !== drawn?.pointer) return;
  const { base, moved, inside } = drawn;
  drawn = null;
  frame.hidden = true;
  for (const node of world.querySelectorAll("[data-ui-framed]")) delete node.dataset.uiFramed;
  if (moved && event.type === "pointerup") choose([...new Set([...base, ...inside])]);
  else if (!moved && event.type === "pointerup" && !event.shiftKey) clear();
  setTool(false);
}

// ── With a finger ────────────────────────────────────────────────────────────

let press = null; // {pointer, at, timer}

function onDown(event) {
  const node = event.target.closest("[data-node]");
  if (event.pointerType !== "touch" || !node || !isDrawn()) return;
  const timer = setTimeout(() => {
    press = null;
    navigator.vibrate?.(10);
    toggle(node);
    const swallow = (click) => {
      click.preventDefault();
      click.stopImmediatePropagation();
    };
    stage.addEventListener("click", swallow, { capture: true, once: true });
    const listen = () => setTimeout(() => stage.removeEventListener("click", swallow, true), CLICK_MS);
    stage.addEventListener("pointerup", listen, { once: true });
    stage.addEventListener("pointercancel", listen, { once: true });
  }, LONG_MS);
  press = { pointer: event.pointerId, at: [event.clientX, event.clientY], timer };
}

function onAway(event) {
  if (event.pointerId !== press?.pointer) return;
  const far = Math.hypot(event.clientX - press.at[0], event.clientY - press.at[1]);
  if (event.type === "pointermove" && far < START_PX) return;
  clearTimeout(press.timer);
  press = null;
}

if (world) {
  stage.addEventListener("pointermove", onMove);
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("pointerdown", onDown);
  for (const type of ["pointermove", "pointerup", "pointercancel"]) stage.addEventListener(type, onAway);
  // A long press opens no menu of the browser's.
  world.addEventListener("contextmenu", (event) => event.pointerType === "touch" && event.preventDefault());
  button?.addEventListener("click", () => setTool(!tool));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || (!tool && !drawn)) return;
    event.preventDefault();
    if (drawn) end({ pointerId: drawn.pointer, type: "pointercancel" });
    setTool(false);
  });
}
