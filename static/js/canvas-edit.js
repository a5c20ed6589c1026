// Designing with keys: what is done to the selected cards, and to the design as a whole. All of it is asked of the
// server, which says in a sentence what became of it; the focus stays where it is.

import { whyFixed } from "./canvas-drag.js";
import { connectTo } from "./canvas-ports.js";
import { addresses, post } from "./canvas-post.js";
import { choose, linkOf, meant, nameOf, nodeOf, topicOf } from "./canvas-select.js";
import { spotFor } from "./canvas-spot.js";
import { follow, isDrawn, reveal, stage, view, world } from "./canvas-view.js";
import { say } from "./say.js";
import { singleKey, typing } from "./shortcuts.js";

const WAIT_MS = 5000; // cards that were added come with the next live update

const ofTopics = (nodes) => nodes.map(topicOf).join(",");
const listed = (nodes) => (nodes.length === 1 ? nameOf(nodes[0]) : `${nodes.length} cards`);

// ── What was added ───────────────────────────────────────────────────────────

let awaited = null; // {topics, until}

/** Selects cards as soon as they are there. */
function selectSoon(topics) {
  awaited = topics.length ? { topics, until: Date.now() + WAIT_MS } : null;
  take();
}

function take() {
  if (!awaited) return;
  const nodes = awaited.topics.map(nodeOf);
  if (Date.now() > awaited.until) awaited = null;
  else if (nodes.every(Boolean)) {
    awaited = null;
    choose(nodes);
    reveal(nodes[0]);
    const free = document.activeElement === document.body || stage.contains(document.activeElement);
    if (free && !document.activeElement.closest(".panel :is(input, textarea, select)")) {
      linkOf(nodes[0]).focus({ preventScroll: true });
    }
  }
}

let last = Promise.resolve();

/** Sends one thing after the other, in the order of the keys: of two Ctrl Z the second undoes what the first left. */
function send(url, fields, failed) {
  const reason = whyFixed();
  if (reason) {
    say(reason, "bad");
    return;
  }
  last = last.then(async () => {
    const answer = await post(url, fields, failed);
    say(answer.said, answer.ok ? "ok" : "bad");
    if (answer.ok) selectSoon(answer.topics);
  });
}

// ── Acts ─────────────────────────────────────────────────────────────────────

const inDialog = (url) => htmx.ajax("GET", url, { source: world.parentElement, target: "#dialog", swap: "innerHTML" });

async function remove(nodes) {
  if (!nodes.length) return;
  const reason = whyFixed();
  if (reason) {
    say(reason, "bad");
    return;
  }
  const dialog = `${addresses.delete}?of=${ofTopics(nodes)}`;
  // What was never deployed comes back with one Ctrl Z: no need to ask.
  if (!nodes.every(({ dataset }) => dataset.change === "add")) {
    inDialog(dialog);
    return;
  }
  const next = nodes[0].previousElementSibling;
  const focused = nodes.some((node) => node.contains(document.activeElement));
  const { ok, said } = await post(addresses.delete, { of: ofTopics(nodes) }, `${listed(nodes)} not deleted.`);
  if (!ok && !said) inDialog(dialog);
  else say(said, ok ? "ok" : "bad");
  if (ok && focused) linkOf(next)?.focus({ preventScroll: true });
}

let clip = [];

function copy(nodes) {
  clip = nodes.map(topicOf);
  say(`${listed(nodes)} copied. Ctrl V adds a copy.`);
}

function paste(topics, how) {
  const spot = spotFor(topics.map(nodeOf).filter(Boolean), how);
  send(addresses.copy, { of: topics.join(","), ...spot }, "Nothing was copied.");
}

function add(kind) {
  const [node, ...others] = meant();
  const owner = node && !others.length && /^instance-array-(\d+)$/.exec(topicOf(node))?.[1];
  const fields = kind === "addDriveArray" && owner ? { instance_array: owner } : {};
  send(addresses[kind], { ...fields, key: crypto.randomUUID?.() ?? "" }, "Nothing was added.");
}

/** Opens the tab where it is said how many and how large; where that is open already, what is typed there stays. */
function resize([node], button) {
  const field = document.querySelector(`#${topicOf(node)}-configuration ${button.dataset.leadsTo}:enabled`);
  if (field) {
    field.focus();
    field.select();
    return;
  }
  const url = `${linkOf(node).getAttribute("href")}configure/`;
  htmx.ajax("GET", url, { source: button, target: "#panel", swap: "innerHTML", push: "true" });
}

function discard([node]) {
  if (node) inDialog(`${linkOf(node).getAttribute("href")}discard/`);
}

// ── Rename in place ──────────────────────────────────────────────────────────

const form = () => document.getElementById("rename");

function rename(nodes) {
  if (nodes.length !== 1) return;
  const [node] = nodes;
  const reason = whyFixed();
  if (reason) {
    say(reason, "bad");
    return;
  }
  stopRenaming();
  node.setAttribute("hx-morph-skip", ""); // what others do meanwhile must not take the form away
  const url = `${linkOf(node).getAttribute("href")}rename/`;
  htmx.ajax("GET", url, { source: world.parentElement, target: node, swap: "beforeend" });
}

function stopRenaming() {
  const open = form();
  const node = open?.closest("[data-node]");
  if (!node) return;
  const focused = open.contains(document.activeElement);
  open.remove();
  node.removeAttribute("hx-morph-skip");
  if (focused) linkOf(node).focus({ preventScroll: true });
  document.body.dispatchEvent(new CustomEvent(topicOf(node)));
}

/** However far away the card is, its form can be read. */
function enlarge() {
  const open = form();
  if (open) open.style.scale = isDrawn() ? Math.max(1, 1 / view.zoom) : 1;
}

function focusRename() {
  const field = document.getElementById("rename-label");
  enlarge();
  if (!field || field.closest("form").contains(document.activeElement)) return;
  field.focus({ preventScroll: true });
  field.select();
}

// ── What keys and the bar do ─────────────────────────────────────────────────

export const acts = {
  open: ([node]) => linkOf(node)?.click(),
  resize,
  rename,
  connect: ([node]) => node && connectTo(node),
  duplicate: (nodes) => paste(nodes.map(topicOf), { byPointer: false }),
  discard,
  remove,
};

/** Whether a key is meant for the canvas: no field, no dialog, and no control of the panel but its title. */
function meansCanvas(target) {
  if (typing(target) || target.closest?.(".rename")) return false;
  if (document.querySelector("dialog[open], [popover]:popover-open:not(.tip)")) return false;
  return !target.closest?.(".panel") || target.id === "panel-title";
}

const onCanvas = (act) => () => meansCanvas(document.activeElement) && act();

const withControl = {
  c: () => getSelection().isCollapsed && meant().length && (copy(meant()), true),
  v: () => clip.length && (paste(clip, { byPointer: true }), true),
  z: () => (send(addresses.undo, {}, "Nothing was undone."), true),
  Z: () => (send(addresses.redo, {}, "Nothing was done again."), true),
  y: () => (send(addresses.redo, {}, "Nothing was done again."), true),
  Enter: () => (document.querySelector('[data-shortcut="review"]')?.click(), true),
};

const alone = {
  F2: () => meant().length === 1 && (rename(meant()), true),
  Delete: () => meant().length && (remove(meant()), true),
};

function onKey(event) {
  if (event.defaultPrevented || event.isComposing || event.altKey || !meansCanvas(event.target)) return;
  const key = event.key.length === 1 && !event.shiftKey ? event.key.toLowerCase() : event.key;
  const keys = event.ctrlKey || event.metaKey ? withControl : alone;
  const own = event.shiftKey && key.length === 1 ? key.toUpperCase() : key;
  if (Object.hasOwn(keys, own) && keys[own]()) event.preventDefault();
}

if (world) {
  document.addEventListener("keydown", onKey);
  singleKey("i", onCanvas(() => add("addInstanceArray")));
  singleKey("d", onCanvas(() => add("addDriveArray")));
  singleKey("c", onCanvas(() => acts.connect(meant())));
  document.addEventListener("htmx:after:swap", take);
  document.addEventListener("htmx:after:settle", focusRename);
  follow(enlarge);
  document.addEventListener("close-rename", stopRenaming);
  stage.addEventListener("keydown", (event) => {
    if (!event.target.closest(".rename")) return;
    if (event.key === "Escape") {
      event.preventDefault();
      stopRenaming();
    }
    event.stopPropagation(); // arrows and letters are for the field
  });
  stage.addEventListener("focusout", (event) => {
    const open = event.target.closest(".rename");
    const stays = !open || open.contains(event.relatedTarget) || !event.relatedTarget;
    const field = open?.querySelector("[name=label]");
    if (!stays && field.value === field.defaultValue) stopRenaming();
  });
}
