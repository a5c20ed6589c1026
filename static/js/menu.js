// Menus: <div class="menu" id="m" popover role="menu"> opened by <button popovertarget="m">. The browser opens and
// closes them, also without this file; here they get their place, the keys of a menu, and peace from live updates.

const GAP_PX = 6;
const EDGE_PX = 8;
const FORGET_MS = 700; // letters typed in quick succession are one word

const isMenu = (element) => element instanceof HTMLElement && element.matches("[popover][role=menu]");
const openerOf = (menu) => document.querySelector(`[popovertarget="${CSS.escape(menu.id)}"]`);
const itemsOf = (menu) => [...menu.querySelectorAll('[role^="menuitem"]:not([hidden])')];

/** Below the opener, or above it where there is no room, and always on the screen. */
function place(menu) {
  const opener = openerOf(menu)?.getBoundingClientRect();
  if (!opener) return;
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = opener.bottom + GAP_PX;
  const above = opener.top - GAP_PX - height;
  const top = below + height > innerHeight - EDGE_PX && above > EDGE_PX ? above : below;
  const left = Math.max(EDGE_PX, Math.min(opener.left, innerWidth - width - EDGE_PX));
  menu.style.left = `${left + scrollX}px`;
  menu.style.top = `${top + scrollY}px`;
}

function step(menu, direction) {
  const items = itemsOf(menu);
  const at = items.indexOf(document.activeElement);
  const next = at < 0 && direction < 0 ? items.length - 1 : at + direction;
  items[(next + items.length) % items.length]?.focus();
}

let word = "";
let forget;

function find(menu, letter) {
  clearTimeout(forget);
  forget = setTimeout(() => {
    word = "";
  }, FORGET_MS);
  word += letter.toLowerCase();
  const items = itemsOf(menu);
  const at = items.indexOf(document.activeElement);
  // The first letter again goes on to the next item that begins with it.
  const rest = [...items.slice(at + (word.length === 1 ? 1 : 0)), ...items.slice(0, Math.max(at, 0))];
  rest.find((item) => item.textContent.trim().toLowerCase().startsWith(word))?.focus();
}

let comeFrom = 1; // 1: the first item gets the focus, -1: the last

document.addEventListener(
  "beforetoggle", // does not bubble
  (event) => {
    const menu = event.target;
    if (!isMenu(menu)) return;
    if (event.newState !== "open") {
      menu.removeAttribute("hx-morph-skip");
      return;
    }
    menu.setAttribute("hx-morph-skip", "");
    // It has no size before it is shown; this is still before it is painted.
    requestAnimationFrame(() => {
      place(menu);
      itemsOf(menu).at(comeFrom > 0 ? 0 : -1)?.focus();
      comeFrom = 1;
    });
  },
  true,
);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const opener = event.target.closest?.("[popovertarget]");
  const opens = opener && document.getElementById(opener.getAttribute("popovertarget"));
  if (isMenu(opens) && !opens.matches(":popover-open") && ["ArrowDown", "ArrowUp"].includes(event.key)) {
    event.preventDefault();
    comeFrom = event.key === "ArrowDown" ? 1 : -1;
    opener.click();
    return;
  }
  const menu = event.target.closest?.("[role=menu]:popover-open");
  if (!menu) return;
  if (event.key === "Tab") {
    menu.hidePopover(); // the focus is back on the opener and goes on from there
    return;
  }
  const items = itemsOf(menu);
  const act = {
    ArrowDown: () => step(menu, 1),
    ArrowUp: () => step(menu, -1),
    Home: () => items[0]?.focus(),
    End: () => items.at(-1)?.focus(),
  }[event.key];
  if (!act && (event.key.length !== 1 || event.key === " ")) return;
  event.preventDefault();
  if (act) act();
  else find(menu, event.key);
});

// What was chosen is done; a dialog that it opens gives the focus back to the menu's opener.
document.addEventListener("click", (event) => {
  const item = event.target.closest?.('[role^="menuitem"]');
  if (!item || item.getAttribute("aria-disabled") === "true") return;
  item.closest("[popover]")?.hidePopover();
});

addEventListener("resize", () => {
  const menu = document.querySelector("[role=menu]:popover-open");
  if (menu) place(menu);
});
