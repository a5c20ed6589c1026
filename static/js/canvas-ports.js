// Cables drawn by hand: from a port of a card to another card. Ports are three buttons for the whole canvas, which go to
// the card under the pointer, the one with the focus, or the selected one. What can be joined, and why not, is asked of
// the server when a cable begins; it also says what to send. A press without a drag opens the dialog that does the same.

import { swallowOne, followCards } from "./canvas-drag.js";
import { boxOf } from "./canvas-place.js";
import { addresses, post } from "./canvas-post.js";
import { followSelection, nameOf, nodeOf, selection, topicOf } from "./canvas-select.js";
import { isDrawn, stage, toWorld, world } from "./canvas-view.js";
import { poly } from "./canvas-wires.js";
import { say } from "./say.js";

const START_PX = 4;
const LEAVE_MS = 150; // the way from a card to its port leads over the ground
const TIP_PX = 16;

const ports = [...document.querySelectorAll("#ports > [data-side]")];
const rubber = document.getElementById("rubber");
const tip = document.getElementById("tip");

let hovered = null;
let leaving;
let cable = null; // {node, side, pointer, client, reasons, over, drawn}

// ── Where the ports are ──────────────────────────────────────────────────────

const SIDES = {
  top: ({ x, y, w }) => [x + w / 2, y],
  bottom: ({ x, y, w, h }) => [x + w / 2, y + h],
  end: ({ x, y, w, h }) => [x + w, y + h / 2],
};

function sidesOf(node) {
  if (node.classList.contains("node--net")) return ["end"];
  return node.classList.contains("node--drives") ? ["top"] : ["top", "bottom"];
}

/** Where a card is drawn just now, also while it is being moved. */
function drawnBox(node) {
  const at = (name) => Number(node.style.getPropertyValue(name));
  return { ...boxOf(node), x: at("--x"), y: at("--y") };
}

function holder() {
  const focused = document.activeElement?.matches?.(".node__open:focus-visible")
    ? document.activeElement.closest("[data-node]")
    : null;
  const all = selection();
  return hovered ?? focused ?? (all.length === 1 ? all[0] : null);
}

function show() {
  if (cable) return;
  const node = holder();
  const sides = node?.isConnected && !("uiDragging" in node.dataset) ? sidesOf(node) : [];
  for (const port of ports) {
    port.hidden = !sides.includes(port.dataset.side);
    if (port.hidden) continue;
    const [x, y] = SIDES[port.dataset.side](drawnBox(node));
    port.style.setProperty("--x", x);
    port.style.setProperty("--y", y);
    port.dataset.of = topicOf(node);
    port.setAttribute("aria-label", `Connect ${nameOf(node)} to…`);
  }
}

function hover(node) {
  clearTimeout(leaving);
  if (node === hovered) return;
  hovered = node;
  show();
}

function onOver(event) {
  if (event.pointerType === "touch" || cable || !isDrawn()) return;
  const node = event.target.closest("[data-node]");
  if (node) hover(node);
  else if (event.target.closest(".port")) clearTimeout(leaving);
  else if (hovered) leaving = setTimeout(hover, LEAVE_MS, null);
}

// ── The cable ────────────────────────────────────────────────────────────────

async function ask(topic) {
  try {
    const answer = await fetch(`${addresses.targets}?from=${topic}`, { headers: { Accept: "application/json" } });
    return answer.ok && !answer.redirected ? await answer.json() : null;
  } catch {
    return null;
  }
}

function onDown(event) {
  const port = event.target.closest(".port");
  if (!port || event.button !== 0 || cable) return;
  event.preventDefault(); // the focus stays where it is
  const node = nodeOf(port.dataset.of);
  if (!node) return;
  const own = {
    node,
    side: port.dataset.side,
    port,
    pointer: event.pointerId,
    client: [event.clientX, event.clientY],
    reasons: null,
    over: null,
    drawn: false,
  };
  cable = own;
  port.setPointerCapture(event.pointerId);
  own.asked = ask(port.dataset.of).then((reasons) => {
    own.reasons = reasons;
    if (cable === own && own.drawn) light();
  });
}

/** Lights what the cable may end at; everything else is dimmed, and says why under the pointer. */
function light() {
  world.dataset.uiConnecting = "";
  cable.node.dataset.uiTarget = "";
  for (const [topic, { why }] of Object.entries(cable.reasons ?? {})) {
    const node = why ? null : nodeOf(topic);
    if (node) node.dataset.uiTarget = "";
  }
}

/** From the side that is nearer: no cable runs through its own card. */
function draw(to) {
  const box = drawnBox(cable.node);
  const sides = sidesOf(cable.node);
  if (sides.length > 1) cable.side = to[1] < box.y + box.h / 2 ? "top" : "bottom";
  const [x, y] = SIDES[cable.side](box);
  const half = (y + to[1]) / 2;
  const points = cable.side === "end" ? [[x, y], [to[0], y], to] : [[x, y], [x, half], [to[0], half], to];
  rubber.setAttribute("d", poly(points));
}

function explain(event) {
  const why = cable.over && cable.reasons?.[topicOf(cable.over)]?.why;
  if (!why) {
    if (tip.matches(":popover-open")) tip.hidePopover();
    return;
  }
  tip.textContent = why;
  if (!tip.matches(":popover-open")) tip.showPopover();
  tip.style.left = `${Math.min(event.clientX + TIP_PX, innerWidth - tip.offsetWidth - TIP_PX)}px`;
  tip.style.top = `${event.clientY + TIP_PX}px`;
}

function onMove(event) {
  if (event.pointerId !== cable?.pointer) return;
  const far = Math.hypot(event.clientX - cable.client[0], event.clientY - cable.client[1]);
  if (!cable.drawn && far < START_PX) return;
  if (!cable.drawn) {
    cable.drawn = true;
    light();
  }
  const under = document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-node]") ?? null;
  const over = under === cable.node ? null : under;
  if (over !== cable.over) {
    delete cable.over?.dataset.uiOver;
    if (over) over.dataset.uiOver = "";
    cable.over = over;
  }
  const pointer = toWorld(event.clientX, event.clientY);
  const box = over && over.dataset.uiTarget === "" ? drawnBox(over) : null;
  if (box) {
    const sides = sidesOf(over);
    const side = sides.length > 1 && cable.node.classList.contains("node--drives") ? "bottom" : sides[0];
    draw(SIDES[side](box));
  } else {
    draw([pointer.x, pointer.y]);
  }
  explain(event);
}

function drop() {
  const own = cable;
  cable = null;
  rubber.setAttribute("d", "");
  if (tip.matches(":popover-open")) tip.hidePopover();
  delete world.dataset.uiConnecting;
  delete own.over?.dataset.uiOver;
  for (const node of world.querySelectorAll("[data-ui-target]")) delete node.dataset.uiTarget;
  hovered = null;
  show();
  return own;
}

async function join(own) {
  await own.asked; // a quick hand is faster than the answer
  if (!own.reasons) {
    say("The editor does not answer. Nothing was connected. Try again when the page says Live.", "bad");
    return;
  }
  const target = own.reasons[topicOf(own.over)];
  if (!target || target.why) {
    say(target ? target.why : "That card is new or gone. Try again.", "bad");
    return;
  }
  const { ok, said } = await post(target.url, { [target.field]: target.value }, "Nothing was connected.");
  say(said, ok ? "ok" : "bad");
}

function onUp(event) {
  if (event.pointerId !== cable?.pointer) return;
  const own = drop();
  if (event.type === "pointercancel") return;
  if (own.drawn) swallowOne();
  if (!own.drawn) connectTo(own.node);
  else if (own.over) join(own);
}

/** Opens the dialog with everything that a card can be connected to. */
export function connectTo(node) {
  const url = `${addresses.connect}?from=${topicOf(node)}`;
  htmx.ajax("GET", url, { source: world.parentElement, target: "#dialog", swap: "innerHTML" });
}

if (world && ports.length) {
  stage.addEventListener("pointerover", onOver);
  stage.addEventListener("pointerleave", () => hover(null));
  stage.addEventListener("focusin", show);
  stage.addEventListener("focusout", () => setTimeout(show));
  stage.addEventListener("pointerdown", onDown);
  stage.addEventListener("pointermove", onMove);
  stage.addEventListener("pointerup", onUp);
  stage.addEventListener("pointercancel", onUp);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !cable) return;
    event.preventDefault();
    drop();
  });
  followCards(show);
  followSelection(show);
  document.addEventListener("htmx:after:swap", show);
  show();
}
