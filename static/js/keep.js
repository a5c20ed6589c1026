// What a person is typing survives live updates, and a form means one wish however often it is sent.
//
// A field with data-keep gets hx-morph-skip while it is focused or changed, so that a morph leaves it alone. The answer
// to the form's own POST is the truth again: the mark goes before the swap, and the field takes the value that came.
//
// The hidden key always carries hx-morph-skip. It is renewed a second after its form's POST was answered, from the
// form's data-next-key, which every update brings anew: a double click, or Enter twice, sends the same key twice, and the
// server does the wish once. When no answer came, the key stays, so that trying again cannot do it twice.

const RENEW_AFTER_MS = 1000;

const edited = (field) => field.value !== field.defaultValue;
const mark = (field) => field.setAttribute("hx-morph-skip", "");
const unmark = (field) => field.removeAttribute("hx-morph-skip");

document.addEventListener("focusin", (event) => {
  if (event.target.matches("[data-keep]")) mark(event.target);
});

document.addEventListener("focusout", (event) => {
  if (event.target.matches("[data-keep]") && !edited(event.target)) unmark(event.target);
});

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-keep]")) mark(event.target);
});

function ownForm(detail) {
  const source = detail.ctx?.sourceElement;
  return source instanceof HTMLFormElement && detail.ctx.request.method === "POST" ? source : null;
}

document.addEventListener("htmx:before:swap", (event) => {
  const form = ownForm(event.detail);
  if (!form || event.detail.ctx.response.status >= 500) return;
  form.querySelectorAll("[data-keep]").forEach(unmark);
});

document.addEventListener("htmx:after:swap", (event) => {
  const form = ownForm(event.detail);
  if (!form?.isConnected || event.detail.ctx.response.status >= 500) return;
  for (const field of form.querySelectorAll("[data-keep]")) {
    field.value = field.defaultValue; // a morph does not touch the value of the focused field
    // What was refused is half-typed text again, which the next live update must leave alone.
    if (event.detail.ctx.response.status >= 400) field.defaultValue = "";
    if (field === document.activeElement || edited(field)) mark(field);
  }
  const key = form.elements.namedItem("key");
  if (!key || !form.dataset.nextKey) return;
  setTimeout(() => {
    key.value = form.dataset.nextKey;
  }, RENEW_AFTER_MS);
});
