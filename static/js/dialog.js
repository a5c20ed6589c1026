// The one dialog of the page: shown when something was swapped into it, closed by Cancel, Esc or `close-dialog`.
// A click on the backdrop does nothing: somebody may be reading what is going to be deleted.

const dialog = document.getElementById("dialog");
let opener = null;

function show() {
  if (!dialog.open) {
    opener = document.activeElement;
    dialog.showModal();
  }
  dialog.querySelector("[data-first]")?.focus();
}

function focusAfter() {
  // The list behind may have been redrawn meanwhile: the same button has the same id.
  const back = opener?.isConnected ? opener : opener?.id ? document.getElementById(opener.id) : null;
  const there = back?.checkVisibility() ? back : null; // a bar goes with its card
  (there ?? document.getElementById("panel-title") ?? document.getElementById("canvas"))?.focus();
  opener = null;
}

if (dialog) {
  document.addEventListener("htmx:after:settle", (event) => {
    if (event.target === dialog && dialog.childElementCount) show();
  });

  dialog.addEventListener("click", (event) => {
    if (!event.target.closest("[data-close]")) return;
    event.preventDefault(); // without this file it is a link back to the list
    dialog.close();
  });

  dialog.addEventListener("close", () => {
    dialog.replaceChildren();
    focusAfter();
  });

  document.addEventListener("close-dialog", () => dialog.close());
}
