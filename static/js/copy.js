// Copies texts, and says beside the button that it did. What cannot be copied is selected, or shown, for the hand.

const SHOWN_MS = 2000;

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // no permission, or a page that was not reached over TLS
  }
}

function sayBeside(button, text) {
  const said = button.parentElement.querySelector("[data-copied]");
  said.textContent = text;
  setTimeout(() => {
    said.textContent = "";
  }, SHOWN_MS);
}

/** What happens at a press on a button with this attribute. */
function whenPressed(attribute, act) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(`[${attribute}]`);
    if (button) act(button);
  });
}

whenPressed("data-copy-link", async (button) => {
  sayBeside(button, (await copy(location.href)) ? "Link copied" : "Copy it from the address bar");
});

whenPressed("data-copy-details", async (button) => {
  const details = button.closest(".note").querySelector("details");
  const done = await copy(details.querySelector("pre").textContent);
  if (!done) details.open = true;
  sayBeside(button, done ? "Details copied" : "Copy them from below");
});

// data-copy="open-iscsi-steps": the text of the element with that id.
whenPressed("data-copy", async (button) => {
  const text = document.getElementById(button.dataset.copy);
  const done = await copy(text.textContent);
  if (!done) getSelection().selectAllChildren(text);
  sayBeside(button, done ? "Copied" : "Selected: press Ctrl+C");
});
