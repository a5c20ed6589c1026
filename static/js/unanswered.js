// A person pressed something and no answer came: says so, and what to do. Live updates that get none are silent; the
// footer tells of those.

import { say } from "./say.js";

const PRESSED = new Set(["click", "submit", "change"]);

document.addEventListener("htmx:error", (event) => {
  const { ctx } = event.detail;
  if (!ctx?.request || ctx.response || !PRESSED.has(ctx.sourceEvent?.type)) return;
  say(
    ctx.request.method === "GET"
      ? "The editor did not answer. Try again when the page says Live."
      : "The editor did not answer, so this may not have been done. Look again when the page says Live.",
    "bad",
  );
});
