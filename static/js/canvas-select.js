// What is selected: the card whose panel is open is marked, its cables are lit, and it is kept in sight. Several cards
// can be chosen besides, with Shift and a click, a frame (canvas-frame.js), X, or Ctrl A; what follows is done to all.

import { reveal, stage, world } from "./canvas-view.js";
import { light } from "./canvas-wires.js";
import { say } from "./say.js";

const NAMED = 3; // more than that are counted

const panel = document.getElementById("panel");
const followers = [];

/** The topic of the card that the open panel is about, or "". */
const wanted = () => panel.querySelector("[data-node-of-panel]")?.dataset.nodeOfPanel ?? "";

export const topicOf = (node) => node.id.replace("node-", "");
export const linkOf = (node) => node?.querySelector(".node__open");
export const nameOf = (node) => linkOf(node).getAttribute("aria-label");
export const nodes = () => [...world.querySelectorAll("[data-node]")];
export const nodeOf = (topic) => document.getElementById(`node-${topic}`);

/** Calls back after every change of the selection. */
export const followSelection = (callback) => followers.push(callback);

let shown = null; // the topic of the open panel
let chosen = new Set(); // topics

export const selected = () => world?.querySelector("[data-ui-selected]") ?? null;

/** All that is selected: what was chosen, else the card whose panel is open. */
export function selection() {
  const several = [...chosen].map(nodeOf).filter(Boolean);
  const open = selected();
  return several.length || !open ? several : [open];
}

/** What a key or a button is about: the card that has the focus, with all others if it is one of several chosen. */
export function meant() {
  const focused = document.activeElement?.closest?.("[data-node]");
  const all = selection();
  return !focused || all.includes(focused) ? all : [focused];
}

function words(all) {
  if (all.length < 2) return all.length ? `${nameOf(all[0])} selected.` : "Nothing selected.";
  const named = all.slice(0, NAMED).map(nameOf).join(", ");
  return `${all.length} selected: ${named}${all.length > NAMED ? " and more" : ""}.`;
}

/** Chooses exactly these cards. */
export function choose(all) {
  chosen = new Set(all.map(topicOf));
  mark();
  say(words(all));
}

export function clear() {
  if (!chosen.size) return false;
  choose([]);
  return true;
}

/** Adds a card to what is chosen, or takes it out. The open card is the first of several. */
export function toggle(node) {
  const all = new Set(chosen.size ? chosen : selection().map(topicOf));
  if (!all.delete(topicOf(node))) all.add(topicOf(node));
  choose([...all].map(nodeOf).filter(Boolean));
}

function mark() {
  const topic = wanted();
  const open = topic ? nodeOf(topic) : null;
  if (topic !== shown && topic) chosen.clear(); // another panel was opened: that card is meant from now on
  for (const node of world.querySelectorAll("[data-ui-selected], [data-ui-chosen]")) {
    if (node !== open) {
      delete node.dataset.uiSelected;
      linkOf(node).removeAttribute("aria-current");
    }
    if (!chosen.has(topicOf(node))) {
      delete node.dataset.uiChosen;
      linkOf(node).removeAttribute("aria-describedby");
    }
  }
  for (const node of [...chosen].map(nodeOf).filter(Boolean)) {
    node.dataset.uiChosen = "";
    linkOf(node).setAttribute("aria-describedby", "is-chosen");
  }
  if (open) {
    open.dataset.uiSelected = "";
    linkOf(open).setAttribute("aria-current", "true");
  }
  light(topic);
  if (topic !== shown && open) reveal(open);
  shown = topic;
  for (const callback of followers) callback();
  const looksAt = selection().length === 1 ? topicOf(selection()[0]) : topic;
  document.dispatchEvent(new CustomEvent("looks-at", { detail: looksAt }));
}

/** Shift and a click adds a card; the link in it, which opens the panel, is not followed. */
function onClick(event) {
  const node = event.target.closest("[data-node]");
  if (!node || !event.shiftKey || event.target.closest(".rename")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  linkOf(node).focus({ preventScroll: true });
  toggle(node);
}

/** Shift and a click means cards, not the words between two places; those of the panel can be selected. */
function keepWordsUnselected(event) {
  const element = event.target instanceof Element ? event.target : event.target.parentElement;
  if (element?.closest(".stage-scroll") && !element.closest(".rename")) event.preventDefault();
}

if (world) {
  mark();
  document.addEventListener("htmx:after:swap", mark);
  stage.addEventListener("click", onClick, true);
  stage.addEventListener("selectstart", keepWordsUnselected);
}
