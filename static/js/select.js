// Selecting rows of a list, and what can be done with the selected ones: <form data-select>.
//
// The selection is the `checked` property of the boxes and nothing else: a morph leaves it alone while ids stay, and
// without this file the form still sends it. CSS shows the bar as soon as something is ticked.
// Each box brings, per command, the sentence that stands against it (data-why-not-<command>), if any. A command is
// unavailable when it can be done to none of the selected; the sentence then stands in [data-why-not="<command>"].

import { singleKey } from "./shortcuts.js";

const NAMED = 3; // more than that are counted

const forms = () => document.querySelectorAll("form[data-select]");
const fields = (form, name) => [...form.elements].filter((field) => field.name === name);
const boxesOf = (form) => fields(form, "instances").filter((field) => field.type === "checkbox");
const formOf = (box) => (box?.matches?.("[name=instances]") && box.form?.matches("[data-select]") ? box.form : null);

function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text; // said aloud only when it changes
}

function names(chosen) {
  const labels = chosen.map((box) => box.dataset.label);
  if (labels.length <= NAMED) return labels.join(", ");
  return `${labels.slice(0, NAMED - 1).join(", ")} and ${labels.length - NAMED + 1} more`;
}

/** Why a command can be done to none of them; "" when it can be done to one at least. */
function reason(chosen, command) {
  const said = chosen.map((box) => box.getAttribute(`data-why-not-${command}`));
  if (!said.length || !said.every(Boolean)) return "";
  const different = [...new Set(said)];
  return different.length <= NAMED
    ? different.join(" ")
    : `${different.slice(0, NAMED - 1).join(" ")} And ${different.length - NAMED + 1} more like that.`;
}

function offer(form, button, chosen) {
  if ("fixed" in button.dataset || "uiDescribedby" in button.dataset) return; // never, or not while offline
  const why = reason(chosen, button.value);
  const place = document.querySelector(`[data-why-not="${CSS.escape(button.value)}"]`);
  // Beneath a bar of several buttons the sentence says which one it is about.
  const about = button.matches("[role=toolbar] *") && why ? `${button.textContent.trim()}: ` : "";
  write(place, about + why);
  button.dataset.uiAbout ??= button.getAttribute("aria-describedby") ?? "";
  if (why) button.setAttribute("aria-disabled", "true");
  else button.removeAttribute("aria-disabled");
  const describedBy = why && place ? place.id : button.dataset.uiAbout;
  if (describedBy) button.setAttribute("aria-describedby", describedBy);
  else button.removeAttribute("aria-describedby");
}

function draw(form) {
  const boxes = boxesOf(form);
  const chosen = boxes.filter((box) => box.checked);
  const all = form.querySelector("[data-select-all]");
  if (all) {
    all.checked = boxes.length > 0 && chosen.length === boxes.length;
    all.indeterminate = chosen.length > 0 && !all.checked;
  }
  write(form.querySelector("[data-selected]"), chosen.length ? `${chosen.length} selected` : "");
  write(document.querySelector("[data-selected-names]"), names(chosen));
  for (const button of fields(form, "command")) if (button.type === "submit") offer(form, button, chosen);
}

function tick(form, boxes, checked) {
  for (const box of boxes) box.checked = checked;
  draw(form);
}

/** What was answered to the last command ([data-said]) stays through live updates, until there is something newer. */
function listenAnew(forget) {
  for (const place of document.querySelectorAll("#panel [data-said]")) {
    place.removeAttribute("hx-morph-skip");
    if (forget) write(place, "");
  }
}

// ── What a person does ───────────────────────────────────────────────────────

let last = null; // the box ticked last: Shift and a click take all in between

document.addEventListener("click", (event) => {
  const form = formOf(event.target);
  if (form) {
    const boxes = boxesOf(form);
    const [from, to] = [boxes.indexOf(last), boxes.indexOf(event.target)].sort((a, b) => a - b);
    if (event.shiftKey && from >= 0) tick(form, boxes.slice(from, to + 1), event.target.checked);
    last = event.target;
    return;
  }
  const none = event.target.closest?.("[data-select-none]");
  if (!none?.form) return;
  none.form.querySelector("[data-select-all]")?.focus(); // the bar with this button is about to go
  tick(none.form, boxesOf(none.form), false);
});

document.addEventListener("change", (event) => {
  const form = formOf(event.target);
  const all = event.target.closest("[data-select-all]");
  if (form) draw(form);
  if (all) tick(all.form, boxesOf(all.form), all.checked);
  if (form || all) listenAnew(true);
});

// Enter in a box, or beside the time limit, would press the first button of the form, and htmx sends it whatever that button is.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("[data-select] input")) event.preventDefault();
});

// In the bar the arrow keys go from button to button, as in every toolbar.
document.addEventListener("keydown", (event) => {
  const bar = event.target.closest?.("form[data-select] [role=toolbar]");
  const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!bar || !way || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...bar.querySelectorAll("button")];
  event.preventDefault();
  buttons[(buttons.indexOf(document.activeElement) + way + buttons.length) % buttons.length]?.focus();
});

singleKey("x", () => {
  const box = document.activeElement?.closest("tr")?.querySelector("[name=instances]");
  const form = formOf(box);
  if (form) tick(form, [box], !box.checked);
});

// ── What changes by itself ───────────────────────────────────────────────────

const drawAll = () => forms().forEach(draw);

document.addEventListener("htmx:before:swap", (event) => {
  if (event.detail.ctx?.request.method === "POST") listenAnew(false);
});
document.addEventListener("htmx:after:swap", drawAll); // rows came or went, reasons are others
addEventListener("pageshow", drawAll); // a browser may remember what was ticked
drawAll();
