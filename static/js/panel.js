// The panel: where the focus goes, its keys, and what a press on an unavailable button does.

import { singleKey } from "./shortcuts.js";

const panel = () => document.getElementById("panel");
const title = () => document.getElementById("panel-title");

// ── Focus ────────────────────────────────────────────────────────────────────

let opener = null; // what opened the panel, to go back to when it closes
let node = ""; // the card it is about, for one that was opened by its address
let lost = null; // where the focus was, in case a swap takes its place away

function remember() {
  const active = document.activeElement;
  if (!panel()?.contains(active)) {
    lost = null;
    return;
  }
  const around = [];
  for (let element = active; element && element !== panel(); element = element.parentElement) {
    if (element.id) around.push(element.id);
  }
  const row = active.closest("#panel :is(li, tr)[id]");
  lost = { around, row, next: row?.nextElementSibling };
}

function firstControl(row) {
  return row?.isConnected ? row.querySelector("a[href], button, input:not([type=hidden])") : null;
}

/** After a swap that took the focused element away: its surroundings, the next row, else the heading. */
function recover() {
  if (!lost || document.activeElement !== document.body) return;
  const { around, row, next } = lost;
  const edit = row?.isConnected && row.querySelector(".snap__edit, [name=note]");
  const near = around.map((id) => document.getElementById(id)).find((element) => element?.matches("[tabindex], button"));
  (edit || near || firstControl(next) || title())?.focus();
}

function focusAfterOpening(source) {
  const place = source?.dataset?.leadsTo;
  const field = place && document.querySelector(`#panel ${place}:enabled`);
  if (field) {
    field.focus();
    field.select?.();
    return;
  }
  const tab = source?.closest?.(".tabs") && document.querySelector("#panel .tabs [aria-current]");
  const step = source?.dataset?.key && document.querySelector(`#panel [data-key="${source.dataset.key}"]`);
  (tab || step || title())?.focus();
}

function focusAfterClosing() {
  const href = opener?.getAttribute?.("href");
  const back = opener?.checkVisibility?.() ? opener : href && document.querySelector(`main a[href="${CSS.escape(href)}"]`);
  const card = node && document.querySelector(`#node-${CSS.escape(node)} a[href]`);
  (back || card || document.querySelector("main a[href], main [tabindex]"))?.focus();
  opener = null;
}

let going = null; // what asks for the panel to come

document.addEventListener("htmx:before:request", (event) => {
  const { sourceElement: source, target, request } = event.detail.ctx;
  // Who presses another link has changed their mind: an answer to the first one must not come after that to the last.
  if (target === panel() && request.method === "GET") {
    going?.abort?.(); // that of Back and Forward cannot be given up
    going = request;
  }
  if (target === panel()) node = document.getElementById("panel-head")?.dataset.nodeOfPanel ?? "";
  // Back and Forward ask in the name of <body>: what had opened the panel is still what to go back to.
  if (target === panel() && source !== document.body && !panel().contains(source)) opener = source;
});

document.addEventListener("htmx:before:swap", remember);
document.addEventListener("htmx:after:swap", recover);

document.addEventListener("htmx:after:settle", (event) => {
  const { task } = event.detail;
  if (event.target !== panel()) return;
  if (task?.swapSpec?.style === "innerHTML") {
    if (panel().childElementCount) focusAfterOpening(task.sourceElement);
    else focusAfterClosing();
  } else if (!panel().childElementCount && lost && document.activeElement === document.body) {
    focusAfterClosing(); // Back out of the panel
  }
});

// A result that the reader waited for takes the focus once, unless they have gone elsewhere to type.
let arrived = document.querySelector("[data-arrived]")?.dataset.arrived;

document.addEventListener("htmx:after:settle", () => {
  const place = document.querySelector("[data-arrived]");
  if (!place || place.dataset.arrived === arrived) return;
  arrived = place.dataset.arrived;
  const active = document.activeElement;
  const free = active === document.body || (panel()?.contains(active) && !active.matches("input, textarea"));
  if (free && !document.querySelector("dialog[open]")) place.focus();
});

// ── Unavailable buttons say why ──────────────────────────────────────────────

document.addEventListener(
  "click",
  (event) => {
    const button = event.target.closest?.('[aria-disabled="true"]');
    if (!button) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const ids = (button.getAttribute("aria-describedby") ?? "").split(" ");
    const reason = ids.map((id) => document.getElementById(id)).find(Boolean);
    if (!reason) return;
    if (!reason.hasAttribute("tabindex")) reason.tabIndex = -1;
    reason.focus();
    reason.scrollIntoView({ block: "nearest" });
  },
  true, // before htmx, which listens on the button itself
);

// ── Keys ─────────────────────────────────────────────────────────────────────

const typing = (element) => element.matches?.("input:not([type=checkbox], [type=radio]), textarea, select");

function stepRows(direction) {
  const rows = [...document.querySelectorAll("#panel .row-link")];
  const at = rows.indexOf(document.activeElement);
  rows[at < 0 ? (direction > 0 ? 0 : rows.length - 1) : at + direction]?.focus();
}

function stepTabs(direction) {
  const tabs = [...document.querySelectorAll("#panel .tabs > a")];
  const at = tabs.findIndex((tab) => tab.hasAttribute("aria-current"));
  tabs[at + direction]?.click();
}

function press(key, direction) {
  const button = document.querySelector(`#panel [data-key="${key}"]`);
  if (button) button.click();
  else stepRows(direction);
}

function close(target) {
  if (typing(target)) {
    const cancel = target.form?.querySelector("[data-cancel]");
    if (cancel) cancel.click();
    else if (target.value) return; // half-typed text is not thrown away
    else title()?.focus();
    return;
  }
  document.querySelector("#panel .panel__top a[data-close-panel]")?.click();
}

singleKey("j", () => press("j", 1));
singleKey("k", () => press("k", -1));
singleKey("[", () => stepTabs(-1));
singleKey("]", () => stepTabs(1));
// One key alone deletes nothing: at 5 of 5 a new snapshot does. Enter on the button makes it.
singleKey("s", () => document.querySelector('#panel [data-key="s"]')?.focus());

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || event.isComposing || !title()) return;
  if (document.querySelector("dialog[open], [popover]:popover-open:not(.tip)")) return;
  close(event.target);
});
