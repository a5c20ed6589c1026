// Who looks at which card: the server sends the avatars (templates/parts/presence.html), here they get their places.

import { followCards } from "./canvas-drag.js";
import { nodeOf } from "./canvas-select.js";
import { world } from "./canvas-view.js";

const STEP_PX = 26;
const INSET_PX = 8;
const ABOVE_PX = 12;

function show() {
  const on = new Map(); // how many are on a card already
  for (const avatar of document.querySelectorAll("#viewers > [data-on]")) {
    const node = nodeOf(avatar.dataset.on);
    avatar.hidden = !node;
    if (!node) continue;
    const number = on.get(node) ?? 0;
    on.set(node, number + 1);
    const at = (name) => Number(node.style.getPropertyValue(name));
    avatar.style.setProperty("--x", at("--x") + at("--w") - INSET_PX - STEP_PX * (number + 1));
    avatar.style.setProperty("--y", at("--y") - ABOVE_PX);
  }
}

if (world) {
  show();
  followCards(show);
  document.addEventListener("htmx:after:swap", show);
}
