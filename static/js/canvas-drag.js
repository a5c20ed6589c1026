// Moving cards, by mouse, pen or finger, or by keys; on drop their place is saved for everyone.

import { boxOf, place, put } from "./canvas-place.js";
import { pans } from "./canvas-pointer.js";
import { isDrawn, stage, view, world } from "./canvas-view.js";
import { cablesOf } from "./canvas-wires.js";
import { say } from "./say.js";

const GRID_PX = 12;
const START_PX = 4; // a press that moves less is a click
const NUDGE_MS = 400; // steps by keys are saved together

const snap = (value) => Math.round(value / GRID_PX) * GRID_PX;
const topicOf = (node) => node.id.replace("node-", "");
const nameOf = (node) => node.querySelector(".node__open").getAttribute("aria-label");

/** Why nothing may be moved here, or nothing. */
function whyFixed() {
  return document.getElementById("why-fixed")?.textContent.trim() ?? "";
}

async function save(node, x, y) {
  const [formerX, formerY] = [node.dataset.x, node.dataset.y];
  node.dataset.x = x; // placed at once; the answer may take a moment
  node.dataset.y = y;
  const back = (sentence) => {
    node.dataset.x = formerX;
    node.dataset.y = formerY;
    cablesOf(topicOf(node))(0, 0);
    say(sentence, "bad");
  };
  try {
    const answer = await fetch(node.dataset.move, {
      method: "POST",
      headers: JSON.parse(document.body.getAttribute("hx-headers:inherited")),
      body: new URLSearchParams({ x, y }),
    });
    if (answer.redirected) back("You are signed out. Sign in again; nothing was moved.");
    else if (answer.ok) say(`${nameOf(node)} moved.`);
    else back(answer.status < 500 ? await answer.text() : `${nameOf(node)} was not moved. Try again.`);
  } catch {
    back(`${nameOf(node)} was not moved: the server does not answer. Try again.`);
  }
  // The socket says the same to everyone; without it the cables would stay stretched.
  const live = document.documentElement.dataset.uiConnection === "live";
  if (!live) document.body.dispatchEvent(new CustomEvent(`wiring-${document.body.dataset.infrastructure}`));
}

// ── By hand ──────────────────────────────────────────────────────────────────

let held = null; // {node, pointer, from, box, cables, dragging}

function onDown(event) {
  const node = event.target.closest("[data-node]");
  if (!isDrawn() || !node || event.button !== 0 || pans(event) || held) return;
  held = { node, pointer: event.pointerId, from: { x: event.clientX, y: event.clientY }, box: boxOf(node) };
}

function begin() {
  const { node, pointer } = held;
  const reason = whyFixed();
  if (reason) {
    held = null;
    say(reason, "bad");
    stage.addEventListener("pointerup", swallowOne, { once: true });
    return false;
  }
  held.cables = cablesOf(topicOf(node));
  held.dragging = true;
  node.dataset.uiDragging = "";
  node.setAttribute("hx-morph-skip", ""); // what others do meanwhile must not pull it away
  node.setPointerCapture(pointer);
  return true;
}

function onMove(event) {
  if (event.pointerId !== held?.pointer) return;
  const dx = (event.clientX - held.from.x) / view.zoom;
  const dy = (event.clientY - held.from.y) / view.zoom;
  if (!held.dragging && (Math.hypot(dx, dy) * view.zoom < START_PX || !begin())) return;
  held.to = { x: held.box.x + dx, y: held.box.y + dy };
  put(held.node, held.to.x, held.to.y);
  held.cables(dx, dy);
}

function onUp(event) {
  if (event.pointerId !== held?.pointer) return;
  const { node, dragging, to, box, cables } = held;
  held = null;
  if (!dragging) return;
  delete node.dataset.uiDragging;
  node.removeAttribute("hx-morph-skip");
  swallowOne();
  const [x, y] = [snap(to.x), snap(to.y)];
  if (event.type === "pointercancel" || (x === box.x && y === box.y)) {
    place(node);
    cables(0, 0);
    return;
  }
  cables(x - box.x, y - box.y);
  save(node, x, y);
}

function swallow(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

/** The click that ends a drag does not open the card. */
function swallowOne() {
  stage.addEventListener("click", swallow, { capture: true, once: true });
  setTimeout(() => stage.removeEventListener("click", swallow, true));
}

// ── By keys ──────────────────────────────────────────────────────────────────

let nudged = null; // {node, box, x, y, cables, timer}

function drop() {
  const { node, box, x, y } = nudged;
  nudged = null;
  delete node.dataset.uiDragging;
  if (x !== box.x || y !== box.y) save(node, x, y);
}

/** Moves a card by so many steps of the grid; saved when the keys rest. */
export function nudge(node, stepsX, stepsY) {
  const reason = whyFixed();
  if (reason) {
    say(reason, "bad");
    return;
  }
  if (nudged && nudged.node !== node) {
    clearTimeout(nudged.timer);
    drop();
  }
  if (!nudged) {
    const box = boxOf(node);
    nudged = { node, box, x: box.x, y: box.y, cables: cablesOf(topicOf(node)) };
    node.dataset.uiDragging = "";
  }
  nudged.x = snap(nudged.x) + stepsX * GRID_PX;
  nudged.y = snap(nudged.y) + stepsY * GRID_PX;
  put(node, nudged.x, nudged.y);
  nudged.cables(nudged.x - nudged.box.x, nudged.y - nudged.box.y);
  clearTimeout(nudged.timer);
  nudged.timer = setTimeout(drop, NUDGE_MS);
}

if (world) {
  stage.addEventListener("pointerdown", onDown);
  stage.addEventListener("pointermove", onMove);
  stage.addEventListener("pointerup", onUp);
  stage.addEventListener("pointercancel", onUp);
}
