// Moving cards, by mouse, pen or finger, or by keys; on drop their places are saved for everyone. Several that are
// selected move together.

import { boxOf, place, put } from "./canvas-place.js";
import { pans } from "./canvas-pointer.js";
import { addresses, post } from "./canvas-post.js";
import { nameOf, selection, topicOf } from "./canvas-select.js";
import { isDrawn, stage, view, world } from "./canvas-view.js";
import { cablesOf } from "./canvas-wires.js";
import { say } from "./say.js";

const GRID_PX = 12;
const START_PX = 4; // a press that moves less is a click
const NUDGE_MS = 400; // steps by keys are saved together

const followers = [];

const snap = (value) => Math.round(value / GRID_PX) * GRID_PX;
const named = (nodes) => (nodes.length === 1 ? nameOf(nodes[0]) : `${nodes.length} cards`);
const plural = (nodes) => (nodes.length === 1 ? "was" : "were");

/** Calls back while cards are moved and when they have been. */
export const followCards = (callback) => followers.push(callback);
const moved = () => followers.forEach((callback) => callback());

/** Why nothing may be moved here, or nothing. */
export function whyFixed() {
  return document.getElementById("why-fixed")?.textContent.trim() ?? "";
}

/** The card with all others, if it is one of several that are selected. */
function together(node) {
  const all = selection();
  return all.includes(node) ? all : [node];
}

/** Cards that are moved together: each keeps its place in relation to the first. */
function lift(nodes) {
  const held = nodes.map((node) => ({ node, box: boxOf(node) }));
  for (const { node } of held) {
    node.dataset.uiDragging = "";
    node.setAttribute("hx-morph-skip", ""); // what others do meanwhile must not pull it away
  }
  return { held, nodes, cables: cablesOf(nodes.map(topicOf)) };
}

/** Shows them that far from their places, once a frame however often the pointer moves. */
function carry(lifted, dx, dy) {
  lifted.by = [dx, dy];
  lifted.frame ||= requestAnimationFrame(() => {
    lifted.frame = 0;
    const [x, y] = lifted.by;
    for (const { node, box } of lifted.held) put(node, box.x + x, box.y + y);
    lifted.cables(x, y);
    moved();
  });
}

function putDown(lifted, dx, dy) {
  const { held, cables, nodes } = lifted;
  cancelAnimationFrame(lifted.frame);
  for (const { node } of held) {
    delete node.dataset.uiDragging;
    node.removeAttribute("hx-morph-skip");
  }
  if (!dx && !dy) {
    for (const { node } of held) place(node);
    cables(0, 0);
    moved();
    return;
  }
  cables(dx, dy);
  save(nodes, held.map(({ box }) => [box.x + dx, box.y + dy]));
}

async function save(nodes, places) {
  const former = nodes.map(({ dataset }) => [dataset.x, dataset.y]);
  const stand = (at) => {
    nodes.forEach(({ dataset }, number) => {
      [dataset.x, dataset.y] = at[number];
    });
    moved();
  };
  stand(places); // at once; the answer may take a moment
  const fields =
    nodes.length === 1
      ? { x: places[0][0], y: places[0][1] }
      : nodes.map((node, number) => ["place", `${topicOf(node)}:${places[number].join(":")}`]);
  const url = nodes.length === 1 ? nodes[0].dataset.move : addresses.move;
  const { ok, said } = await post(url, fields, `${named(nodes)} ${plural(nodes)} not moved.`);
  if (ok) {
    say(`${named(nodes)} moved.`);
  } else {
    stand(former);
    cablesOf(nodes.map(topicOf))(0, 0);
    say(said, "bad");
  }
  // The socket says the same to everyone; without it the cables would stay stretched.
  const live = document.documentElement.dataset.uiConnection === "live";
  if (!live) document.body.dispatchEvent(new CustomEvent(`wiring-${document.body.dataset.infrastructure}`));
}

// ── By hand ──────────────────────────────────────────────────────────────────

let held = null; // {node, pointer, from, lifted, by}

function onDown(event) {
  const node = event.target.closest("[data-node]");
  if (!isDrawn() || !node || event.button !== 0 || pans(event) || held || event.target.closest(".rename")) return;
  held = { node, pointer: event.pointerId, from: { x: event.clientX, y: event.clientY }, by: [0, 0] };
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
  held.lifted = lift(together(node));
  node.setPointerCapture(pointer);
  return true;
}

function onMove(event) {
  if (event.pointerId !== held?.pointer) return;
  const dx = (event.clientX - held.from.x) / view.zoom;
  const dy = (event.clientY - held.from.y) / view.zoom;
  if (!held.lifted && (Math.hypot(dx, dy) * view.zoom < START_PX || !begin())) return;
  held.by = [dx, dy];
  carry(held.lifted, dx, dy);
}

function onUp(event) {
  if (event.pointerId !== held?.pointer) return;
  const { node, lifted, by } = held;
  held = null;
  if (!lifted) return;
  swallowOne();
  const box = boxOf(node);
  // The card that was held comes onto the grid, and the others keep their distance from it.
  const [dx, dy] = [snap(box.x + by[0]) - box.x, snap(box.y + by[1]) - box.y];
  if (event.type === "pointercancel") putDown(lifted, 0, 0);
  else putDown(lifted, dx, dy);
}

function swallow(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

/** The click that ends a drag does not open the card. */
export function swallowOne() {
  stage.addEventListener("click", swallow, { capture: true, once: true });
  setTimeout(() => stage.removeEventListener("click", swallow, true));
}

// ── By keys ──────────────────────────────────────────────────────────────────

let nudged = null; // {lifted, first, by, timer}

function drop() {
  const { lifted, by } = nudged;
  nudged = null;
  putDown(lifted, ...by);
}

/** Moves a card, and those selected with it, by so many steps of the grid; saved when the keys rest. */
export function nudge(node, stepsX, stepsY) {
  const reason = whyFixed();
  if (reason) {
    say(reason, "bad");
    return;
  }
  const nodes = together(node);
  if (nudged && String(nudged.lifted.nodes.map(topicOf)) !== String(nodes.map(topicOf))) {
    clearTimeout(nudged.timer);
    drop();
  }
  nudged ??= { lifted: lift(nodes), by: [0, 0] };
  const box = boxOf(node);
  nudged.by = [
    snap(box.x + nudged.by[0]) + stepsX * GRID_PX - box.x,
    snap(box.y + nudged.by[1]) + stepsY * GRID_PX - box.y,
  ];
  carry(nudged.lifted, ...nudged.by);
  clearTimeout(nudged.timer);
  nudged.timer = setTimeout(drop, NUDGE_MS);
}

if (world) {
  stage.addEventListener("pointerdown", onDown);
  stage.addEventListener("pointermove", onMove);
  stage.addEventListener("pointerup", onUp);
  stage.addEventListener("pointercancel", onUp);
}
