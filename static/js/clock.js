// Lets times tick: <time datetime data-clock="ago|age|seen|elapsed"> and <progress data-clock="progress" data-since>.
// The words are those of editor/words.py, so that a fragment from the server changes nothing on the page.

const SECOND = 1000;

// A browser's clock may be wrong; what the server says the time is counts. [data-now] is on every live fragment.
let offset = 0;
let lastSaid = "";

function correct() {
  const said = document.querySelector("[data-now]")?.dataset.now ?? "";
  if (!said || said === lastSaid) return;
  lastSaid = said;
  offset = Date.parse(said) - Date.now();
}

export function age(seconds) {
  if (seconds < 10) return "now";
  if (seconds < 60) return `${Math.floor(seconds / 10) * 10} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

export function ago(seconds) {
  const said = age(seconds);
  return said === "now" ? "just now" : `${said} ago`;
}

export function elapsed(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (number) => String(number % 60).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes}:${two(whole)}`
    : `${Math.floor(minutes / 60)}:${two(minutes)}:${two(whole)}`;
}

export function seen(seconds) {
  const whole = Math.floor(seconds);
  return whole >= 1 && whole < 10 ? `${whole} s ago` : ago(seconds);
}

/** How long ago that was by the server's clock, in words. */
export const seenAgo = (time) => seen((Date.now() + offset - Date.parse(time)) / SECOND);

const SAID = { age, ago, seen, elapsed };

function tick() {
  correct();
  const now = Date.now() + offset;
  for (const element of document.querySelectorAll("[data-clock]")) {
    const since = (now - Date.parse(element.dateTime || element.dataset.since)) / SECOND;
    if (Number.isNaN(since)) continue;
    if (element instanceof HTMLProgressElement) {
      element.value = Math.min(since, element.max);
      continue;
    }
    const said = SAID[element.dataset.clock]?.(since);
    if (said !== undefined && said !== element.textContent) element.textContent = said;
  }
}

setInterval(tick, SECOND);
document.addEventListener("htmx:after:settle", tick);
tick();
