// Keys without Ctrl: they never act while somebody types, and can be switched off in the sheet that "?" opens.

const PREFIX_MS = 1500; // between G and the letter that follows

const root = document.documentElement;
const sheet = document.getElementById("shortcuts");
const box = sheet?.querySelector("[data-single-keys]");
const acts = new Map();
let prefix = "";
let forget;

const FIELDS = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";
export const typing = (element) => element.matches?.(FIELDS);

/** Calls back when the key is pressed; "g a" is G, then A; "T" is Shift and T. */
export const singleKey = (key, act) => acts.set(key, act);

/** A key that presses the button or follows the link with this data-shortcut. */
const press = (name) => document.querySelector(`[data-shortcut="${name}"]`)?.click();

singleKey("?", () => sheet?.showModal());
singleKey("g a", () => press("activity"));
singleKey("g i", () => press("infrastructures"));
singleKey("o", () => press("outline"));
singleKey("T", () => press("tidy"));

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (root.dataset.keys === "off" || typing(event.target)) return;
  if (document.querySelector("dialog[open], [popover]:popover-open:not(.tip)")) return;
  // With Caps Lock on, "o" comes as "O"; only where Shift counts are the two told apart.
  const key = event.shiftKey ? event.key : event.key.toLowerCase();
  const act = acts.get(prefix + key);
  clearTimeout(forget);
  const begins = !prefix && key === "g";
  prefix = begins ? "g " : "";
  if (begins) {
    forget = setTimeout(() => {
      prefix = "";
    }, PREFIX_MS);
  }
  if (!act) return;
  event.preventDefault();
  act();
});

if (sheet) {
  for (const opener of document.querySelectorAll('[data-shortcut="sheet"]')) {
    opener.addEventListener("click", () => sheet.showModal());
  }
  // The backdrop closes it: nothing is at stake.
  sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
  box.checked = root.dataset.keys !== "off";
  box.addEventListener("change", () => {
    if (box.checked) {
      delete root.dataset.keys;
      localStorage.removeItem("keys");
    } else {
      root.dataset.keys = "off";
      localStorage.setItem("keys", "off");
    }
  });
}
