// What a person is typing survives live updates, and a form means one wish however often it is sent.
//
// A field with data-keep gets hx-morph-skip while it is focused or changed, so that a morph leaves it alone. The answer
// to the form's own POST is the truth again: the mark goes before the swap, and the field takes the value that came.
//
// What says which revision the form showed ([data-keep-with]) stays as old as the oldest field that is kept: what was
// changed meanwhile then shows when the form is sent. What was said to the last POST ([data-keep-said]) stays until the next.
//
// The hidden key always carries hx-morph-skip. It is renewed a second after its form's POST was answered, from the
// form's data-next-key, which every update brings anew: a double click, or Enter twice, sends the same key twice, and the
// server does the wish once. When no answer came, the key stays, so that trying again cannot do it twice.

const RENEW_AFTER_MS = 1000;

const isTick = (field) => field.type === "checkbox" || field.type === "radio";

function edited(field) {
  if (field instanceof HTMLSelectElement) return [...field.options].some((one) => one.selected !== one.defaultSelected);
  return isTick(field) ? field.checked !== field.defaultChecked : field.value !== field.defaultValue;
}

/** Makes what came from the server the value. */
function reset(field) {
  if (field instanceof HTMLSelectElement) {
    const given = [...field.options].findIndex((one) => one.defaultSelected);
    field.selectedIndex = Math.max(given, 0);
  } else if (isTick(field)) field.checked = field.defaultChecked;
  else field.value = field.defaultValue;
}

const kept = (form) => [...(form?.elements ?? [])].filter((field) => field.matches("[data-keep]"));
const companions = (form) => form?.querySelectorAll("[data-keep-with]") ?? [];

function mark(field) {
  field.setAttribute("hx-morph-skip", "");
  for (const one of companions(field.form)) one.setAttribute("hx-morph-skip", "");
}

function unmark(field) {
  field.removeAttribute("hx-morph-skip");
  if (kept(field.form).some((one) => one.hasAttribute("hx-morph-skip"))) return;
  for (const one of companions(field.form)) one.removeAttribute("hx-morph-skip");
}

document.addEventListener("focusin", (event) => {
  if (event.target.matches("[data-keep]")) mark(event.target);
});

document.addEventListener("focusout", (event) => {
  if (event.target.matches("[data-keep]") && !edited(event.target)) unmark(event.target);
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-keep]")) mark(event.target);
});

/** The forms that a POST was the answer to: its own, and for a dialog those of the panel that it is about. */
function answered({ ctx }) {
  const source = ctx?.sourceElement;
  if (!(source instanceof HTMLFormElement) || ctx.request.method !== "POST" || ctx.response.status >= 500) return [];
  if (ctx.target === "#dialog" || ctx.target?.id === "dialog") return []; // it asks for more: the form waits as it is
  return source.closest("#dialog") ? [...document.querySelectorAll("#panel form")] : [source];
}

document.addEventListener("htmx:before:swap", (event) => {
  for (const form of answered(event.detail)) {
    kept(form).forEach(unmark);
    for (const said of document.querySelectorAll("#panel [data-keep-said]")) said.removeAttribute("hx-morph-skip");
  }
});

document.addEventListener("htmx:after:swap", (event) => {
  const refused = event.detail.ctx?.response?.status >= 400;
  for (const form of answered(event.detail)) {
    if (!form.isConnected) continue;
    for (const field of kept(form)) {
      reset(field); // a morph does not touch the value of the focused field
      // What was refused is half-typed text again, which the next live update must leave alone.
      if (refused && "defaultValue" in field && !isTick(field)) field.defaultValue = "";
      if (field === document.activeElement || edited(field) || refused) mark(field);
    }
    const key = form.elements.namedItem("key");
    if (!key || !form.dataset.nextKey) continue;
    setTimeout(() => {
      key.value = form.dataset.nextKey;
    }, RENEW_AFTER_MS);
  }
});
