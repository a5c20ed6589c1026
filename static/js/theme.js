// Before anything is drawn: the chosen theme, and whether the canvas is drawn or its outline. A classic script on
// purpose: modules run too late for that.
// <html data-ui-canvas>: the canvas is drawn. Without it, as without JavaScript, the same list is an outline.

(() => {
  const root = document.documentElement;
  const kept = (name) => {
    try {
      return localStorage.getItem(name);
    } catch {
      return null; // storage is switched off
    }
  };
  root.dataset.uiJs = "";
  const theme = kept("theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  if (kept("keys") === "off") root.dataset.keys = "off";
  if (kept("outline") !== "on" && !matchMedia("(width < 40rem)").matches) root.dataset.uiCanvas = "";
  // The world stays hidden until canvas-place.js has placed its cards; should that never happen, show the outline.
  addEventListener("load", () => {
    const world = document.getElementById("world");
    if (world && !("uiPlaced" in world.dataset)) delete root.dataset.uiCanvas;
  });
})();
