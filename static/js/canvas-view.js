// The window onto the world: pan and zoom, fitting, and keeping a card in sight. Kept per infrastructure in this tab.
//
// A point of the world (x, y) is drawn at (pan.x + x * zoom, pan.y + y * zoom) px of the stage.

import { boxOf } from "./canvas-place.js";

const ZOOM_MIN = 0.25;
const ZOOM_MAX = 2;
const ZOOM_FAR = 0.6; // below it only names and states are drawn
const ZOOM_STEP = 1.25;
const GRID_PX = 24;
const FIRST_X = 84;
const FIRST_Y = 108;
const LETTERS = [
  [0.35, "3.4"],
  [0.46, "2.5"],
  [ZOOM_FAR, "1.9"],
];
const MARGIN = { top: 68, right: 24, bottom: 24, left: 24 }; // room for the tools above
const BAR_PX = 56; // and for the bar below a card
const ROOM_MIN_PX = 160;
const REST_MS = 160; // after the last movement everything is drawn sharply again

export const stage = document.getElementById("canvas");
export const world = document.getElementById("world");

const root = document.documentElement;
const level = document.querySelector("[data-zoom-level]");
const storageKey = `view-${document.body.dataset.infrastructure}`;
const followers = [];

export const view = { x: 0, y: 0, zoom: 1 };

/** Whether the canvas is drawn at all, and not its outline. */
export const isDrawn = () => Boolean(world) && "uiCanvas" in root.dataset;

/** Calls back after every movement. */
export const follow = (callback) => followers.push(callback);

// ── Drawing ──────────────────────────────────────────────────────────────────

let frame = 0;
let rest;

function draw() {
  frame = 0;
  stage.style.setProperty("--pan-x", `${view.x}px`);
  stage.style.setProperty("--pan-y", `${view.y}px`);
  stage.style.setProperty("--zoom", view.zoom);
  stage.style.setProperty("--dots", `${GRID_PX * view.zoom * (view.zoom < 0.5 ? 2 : 1)}px`);
  const lod = view.zoom < ZOOM_FAR ? "far" : "near";
  if (stage.dataset.lod !== lod) {
    stage.dataset.lod = lod;
    settle();
  }
  if (level) level.textContent = `${Math.round(view.zoom * 100)} %`;
  for (const callback of followers) callback();
}

/** Far away, names keep about their size on the screen. In a few steps: each is a new layout of all cards. */
function settle() {
  delete world.dataset.uiMoving;
  const step = LETTERS.find(([below]) => view.zoom < below);
  const letters = step ? step[1] : "1";
  if (letters === world.style.getPropertyValue("--letters")) return;
  world.style.setProperty("--letters", letters);
}

function ended() {
  settle();
  try {
    sessionStorage.setItem(storageKey, JSON.stringify(view));
  } catch {
    // storage is switched off: the next page fits everything again
  }
}

export function move(next) {
  Object.assign(view, next);
  world.dataset.uiMoving = "";
  frame ||= requestAnimationFrame(draw);
  clearTimeout(rest);
  rest = setTimeout(ended, REST_MS);
}

// ── Where things are ─────────────────────────────────────────────────────────

/** The part of the stage that no panel covers, px of the stage. */
export function room() {
  const { width, height } = stage.getBoundingClientRect();
  const panel = document.getElementById("panel");
  const covered = panel?.childElementCount ? panel.getBoundingClientRect().width + 8 : 0;
  const free = width - covered;
  return { width: free < ROOM_MIN_PX ? width : free, height };
}

export function toWorld(clientX, clientY) {
  const at = stage.getBoundingClientRect();
  return { x: (clientX - at.left - view.x) / view.zoom, y: (clientY - at.top - view.y) / view.zoom };
}

function everything() {
  const { left, top, width, height } = world.dataset;
  return { x: Number(left), y: Number(top), w: Number(width), h: Number(height) };
}

// ── Moving ───────────────────────────────────────────────────────────────────

export const panBy = (dx, dy) => move({ x: view.x + dx, y: view.y + dy });

/** Zooms so that the point of the world under (clientX, clientY) stays there. */
export function zoomTo(wanted, clientX, clientY) {
  const zoom = Math.min(ZOOM_MAX, Math.max(ZOOM_MIN, wanted));
  const at = stage.getBoundingClientRect();
  const free = room();
  const x = (clientX ?? at.left + free.width / 2) - at.left;
  const y = (clientY ?? at.top + free.height / 2) - at.top;
  const share = zoom / view.zoom;
  move({ zoom, x: x - (x - view.x) * share, y: y - (y - view.y) * share });
}

export const zoomIn = () => zoomTo(view.zoom * ZOOM_STEP);
export const zoomOut = () => zoomTo(view.zoom / ZOOM_STEP);

/** Shows a box whole, in the middle, as large as it fits but not above 100 %. */
export function fit(box = everything(), most = 1) {
  const free = room();
  const width = Math.max(80, free.width - MARGIN.left - MARGIN.right);
  const height = Math.max(80, free.height - MARGIN.top - MARGIN.bottom);
  const zoom = Math.min(most, ZOOM_MAX, Math.max(ZOOM_MIN, Math.min(width / box.w, height / box.h)));
  // What does not fit begins at its upper left corner.
  const x = MARGIN.left + Math.max(0, (width - box.w * zoom) / 2) - box.x * zoom;
  const y = MARGIN.top + Math.max(0, (height - box.h * zoom) / 2) - box.y * zoom;
  move({ zoom, x: Math.round(x), y: Math.round(y) });
}

/** Pans just enough to have the card in sight, and never zooms. */
export function reveal(node) {
  if (!node || !isDrawn()) return;
  const box = boxOf(node);
  const free = room();
  const left = view.x + box.x * view.zoom;
  const top = view.y + box.y * view.zoom;
  const right = left + box.w * view.zoom;
  const bottom = top + box.h * view.zoom;
  let dx = 0;
  let dy = 0;
  if (right > free.width - MARGIN.right) dx = free.width - MARGIN.right - right;
  if (left + dx < MARGIN.left) dx = MARGIN.left - left;
  if (bottom > free.height - BAR_PX) dy = free.height - BAR_PX - bottom;
  if (top + dy < MARGIN.top) dy = MARGIN.top - top;
  if (dx || dy) panBy(Math.round(dx), Math.round(dy));
}

// ── Beginning ────────────────────────────────────────────────────────────────

/** A first look: everything, if it can be read then; else the upper left corner, and the minimap shows the rest. */
function open() {
  fit();
  if (view.zoom >= ZOOM_FAR) return;
  const box = everything();
  move({ zoom: 1, x: Math.round(FIRST_X - box.x), y: Math.round(FIRST_Y - box.y) });
}

function remembered() {
  try {
    const kept = JSON.parse(sessionStorage.getItem(storageKey));
    return [kept?.x, kept?.y, kept?.zoom].every(Number.isFinite) ? kept : null;
  } catch {
    return null;
  }
}

if (world) {
  const kept = remembered();
  if (kept) move(kept);
  else open();
  cancelAnimationFrame(frame);
  draw(); // now, not in the next frame: nothing may jump
  settle();
  // Only now: the styles of thousands of cards are worked out once, with all that was set.
  world.dataset.uiPlaced = "";
  const acts = { "zoom-in": zoomIn, "zoom-out": zoomOut, fit: () => fit() };
  for (const [name, act] of Object.entries(acts)) {
    document.querySelector(`[data-shortcut="${name}"]`)?.addEventListener("click", act);
  }
}
