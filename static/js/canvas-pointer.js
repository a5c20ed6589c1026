// Mouse, pen, fingers and wheel on the ground of the canvas: pan and zoom.

import { beginFrame, frames } from "./canvas-frame.js";
import { clear } from "./canvas-select.js";
import { isDrawn, panBy, stage, view, world, zoomTo } from "./canvas-view.js";

const WHEEL_SPEED = 0.0015; // a notch of 100 px is about a seventh
const PINCH_SPEED = 0.01; // touch pads send pinches as small wheel steps with Ctrl
const TOUCHPAD_PX = 40; // a first step below it comes from a touch pad, which pans
const GESTURE_MS = 200;
const LINE_PX = 40;
const CLICK_PX = 4;

const PRESSABLE = "button, input, textarea, select, summary, a, [role=menuitem]";
const OTHERS = ".panel, .tools, .minimap, .menu, dialog";
const HANDLES = ".port, .rename"; // they have gestures of their own; the wheel is the canvas's there, too

// ── Wheel ────────────────────────────────────────────────────────────────────

let panning = false;
let lastWheel = 0;

function onWheel(event) {
  if (!isDrawn() || event.target.closest(OTHERS)) return;
  event.preventDefault();
  const unit = event.deltaMode === 1 ? LINE_PX : 1;
  const dx = event.deltaX * unit;
  const dy = event.deltaY * unit;
  if (event.ctrlKey) {
    zoomTo(view.zoom * Math.exp(-dy * PINCH_SPEED), event.clientX, event.clientY);
    return;
  }
  // What the first step of a gesture looks like holds for all of it.
  if (event.timeStamp - lastWheel > GESTURE_MS) panning = event.shiftKey || dx !== 0 || Math.abs(dy) < TOUCHPAD_PX;
  lastWheel = event.timeStamp;
  if (panning) panBy(-dx, -dy);
  else zoomTo(view.zoom * Math.exp(-dy * WHEEL_SPEED), event.clientX, event.clientY);
}

// ── Pointers ─────────────────────────────────────────────────────────────────

const fingers = new Map(); // pointer id → where it is
let spaceHeld = false;
let moved = 0;

/** Whether a press here would move the window and not a card. */
export function pans(event) {
  if (event.button === 1 || spaceHeld) return true;
  const node = event.target.closest("[data-node]");
  if (!node) return true;
  return event.pointerType === "touch" && !("uiSelected" in node.dataset) && !("uiChosen" in node.dataset);
}

const distance = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);
const mean = (numbers) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length;
const middle = (all) => ({ x: mean(all.map((one) => one.x)), y: mean(all.map((one) => one.y)) });

function onDown(event) {
  if (!isDrawn() || event.target.closest(`${OTHERS}, ${HANDLES}`) || event.button > 1) return;
  if (!fingers.size && !pans(event)) return;
  if (!fingers.size && !spaceHeld && frames(event) && !event.target.closest("[data-node]")) {
    beginFrame(event);
    return;
  }
  if (event.button === 1) event.preventDefault(); // no automatic scrolling
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  if (fingers.size === 1) moved = 0;
}

function onMove(event) {
  if (!fingers.has(event.pointerId)) return;
  const before = [...fingers.values()].map((finger) => ({ ...finger }));
  fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  const after = [...fingers.values()];
  const from = middle(before);
  const to = middle(after);
  moved += Math.hypot(to.x - from.x, to.y - from.y);
  if (moved < CLICK_PX && after.length === 1) return;
  if (!("uiPanning" in stage.dataset)) {
    stage.dataset.uiPanning = "";
    stage.setPointerCapture(event.pointerId);
  }
  panBy(to.x - from.x, to.y - from.y);
  if (after.length === 2) zoomTo((view.zoom * distance(after)) / Math.max(1, distance(before)), to.x, to.y);
}

function onUp(event) {
  if (!fingers.delete(event.pointerId) || fingers.size) return;
  delete stage.dataset.uiPanning;
  if (event.type === "pointerup" && event.button === 0 && moved < CLICK_PX && !spaceHeld) {
    if (!event.target.closest("[data-node]")) clear(); // a click on the ground
  }
  setTimeout(() => {
    moved = 0; // the click, if there is one, has come by now
  });
}

/** The click at the end of a pan is not meant for the card under it. */
function onClick(event) {
  if (moved < CLICK_PX) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}

if (world) {
  stage.addEventListener("wheel", onWheel, { passive: false });
  stage.addEventListener("pointerdown", onDown);
  stage.addEventListener("pointermove", onMove);
  stage.addEventListener("pointerup", onUp);
  stage.addEventListener("pointercancel", onUp);
  stage.addEventListener("click", onClick, true);
  stage.addEventListener("dragstart", (event) => event.target.closest("[data-node]") && event.preventDefault());

  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.closest(PRESSABLE)) return;
    event.preventDefault();
    spaceHeld = true;
    stage.dataset.uiSpace = "";
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    spaceHeld = false;
    delete stage.dataset.uiSpace;
  });
  addEventListener("blur", () => {
    spaceHeld = false;
    delete stage.dataset.uiSpace;
  });
}
