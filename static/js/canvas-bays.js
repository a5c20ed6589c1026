// Bays: the twin lights up (same number, other array), a tip says what it is; on large canvases they come when needed.

import { seenAgo } from "./clock.js";
import { follow, isDrawn, stage, view, world } from "./canvas-view.js";

const NEAR_ZOOM = 0.6;
const ASK_MS = 120;
const BATCH = 80;
const GAP_PX = 8;

const tip = document.getElementById("tip");
let current = null;

// ── Twins and tips ───────────────────────────────────────────────────────────

function show(bay) {
  if (bay === current) return;
  hide();
  current = bay;
  for (const twin of world.querySelectorAll(`[data-twin-of="${CSS.escape(bay.dataset.twinOf)}"]`)) {
    if (twin !== bay) twin.dataset.uiTwin = "";
  }
  const { seenAt } = bay.dataset;
  tip.textContent = bay.getAttribute("aria-label") + (seenAt ? `, seen ${seenAgo(seenAt)}` : "");
  tip.showPopover();
  const at = bay.getBoundingClientRect();
  const farthest = innerWidth - tip.offsetWidth - GAP_PX;
  const left = Math.min(Math.max(GAP_PX, at.left + at.width / 2 - tip.offsetWidth / 2), farthest);
  const above = at.top - tip.offsetHeight - GAP_PX;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > GAP_PX ? above : at.bottom + GAP_PX}px`;
}

function hide() {
  if (!current) return;
  current = null;
  tip.hidePopover();
  for (const twin of world.querySelectorAll("[data-ui-twin]")) delete twin.dataset.uiTwin;
}

const bayOf = (event) => event.target.closest?.(".bay[data-twin-of]");

// ── Bays of large canvases ───────────────────────────────────────────────────

const waiting = new Set();
const asked = new WeakSet();
let asking;

function ask() {
  if (view.zoom < NEAR_ZOOM || !isDrawn()) return;
  const some = [...waiting].filter((node) => node.isConnected && "plain" in node.dataset).slice(0, BATCH);
  for (const node of some) {
    waiting.delete(node);
    asked.add(node);
  }
  if (!some.length) return;
  const of = some.map((node) => node.id.replace("node-", "")).join(",");
  htmx.ajax("GET", `${world.dataset.cards}?of=${of}`, { source: world, target: "#nodes", swap: "none" });
  if (waiting.size) asking = setTimeout(ask, ASK_MS);
}

function askSoon() {
  clearTimeout(asking);
  asking = setTimeout(ask, ASK_MS);
}

function watchLarge() {
  const seen = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting && "plain" in target.dataset && !asked.has(target)) waiting.add(target);
      else waiting.delete(target);
    }
    askSoon();
  }, { root: stage });
  const observe = () => {
    for (const node of world.querySelectorAll("[data-plain]")) seen.observe(node);
  };
  observe();
  follow(askSoon);
  document.addEventListener("htmx:after:swap", observe);
}

if (world) {
  world.addEventListener("pointerover", (event) => {
    const bay = bayOf(event);
    if (bay) show(bay);
    else hide();
  });
  world.addEventListener("pointerleave", hide);
  world.addEventListener("focusin", (event) => {
    const bay = bayOf(event);
    if (bay?.matches(":focus-visible")) show(bay);
  });
  world.addEventListener("focusout", hide);
  world.addEventListener("pointerdown", hide);
  follow(hide);
  if ("many" in world.dataset) watchLarge();
}
