// Cards say where they stand in data-x, data-y, data-w and data-h (px of the world); a policy without inline styles
// leaves it to this file to apply them. What is swapped in is placed before the browser paints again.

const world = document.getElementById("world");

/** Where a card stands, in px of the world. */
export function boxOf(node) {
  const { x, y, w, h } = node.dataset;
  return { x: Number(x), y: Number(y), w: Number(w), h: Number(h) };
}

/** Puts a card somewhere without saying so to anyone. */
export function put(node, x, y) {
  node.style.setProperty("--x", x);
  node.style.setProperty("--y", y);
}

export function place(node) {
  if ("uiDragging" in node.dataset) return;
  const { x, y, w, h } = node.dataset;
  put(node, x, y);
  node.style.setProperty("--w", w);
  node.style.setProperty("--h", h);
}

function placeIn(element) {
  if (!(element instanceof Element)) return;
  if (element.matches("[data-node]")) place(element);
  else element.querySelectorAll("[data-node]").forEach(place);
}

if (world) {
  placeIn(world);
  new MutationObserver((changes) => {
    for (const change of changes) {
      if (change.type === "attributes") placeIn(change.target);
      else change.addedNodes.forEach(placeIn);
    }
  }).observe(world, { subtree: true, childList: true, attributeFilter: ["data-x", "data-y", "data-w", "data-h"] });
}
