// Runs in every page before its own scripts: clocks that start with a click and stop with the frame that shows the result.

const seen = { drawn: null, frames: null, answer: null };

/** Calls back with the time at which the next frame was made. */
function afterFrame(callback) {
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => callback(performance.now());
    channel.port2.postMessage(0);
  });
}

function isThere({ present, absent }) {
  const missing = present.some((selector) => !document.querySelector(selector));
  return !missing && !absent.some((selector) => document.querySelector(selector));
}

/** Whether all of it can be seen; what fades in can from its second frame on. */
function isShown({ present }) {
  const how = { opacityProperty: true, visibilityProperty: true };
  return present.every((selector) => document.querySelector(selector)?.checkVisibility(how));
}

/** From the next click to the first frame with all of `present` and none of `absent`, in ms. */
function watch(wanted) {
  seen.answer = new Promise((resolve) => {
    addEventListener(
      "click",
      (click) => {
        const look = () => {
          if (!isThere(wanted)) return;
          observer.disconnect();
          afterFrame(seeWhetherShown);
        };
        const seeWhetherShown = (at) => {
          if (isShown(wanted)) resolve(at - click.timeStamp);
          else afterFrame(seeWhetherShown);
        };
        const observer = new MutationObserver(look);
        observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
        look();
      },
      { capture: true, once: true },
    );
  });
}

/** When, on the clock of the machine, the first frame showed what the selector finds, in ms. */
function watchFor(selector) {
  const wanted = { present: [selector], absent: [] };
  seen.answer = new Promise((resolve) => {
    const observer = new MutationObserver(() => {
      if (!isThere(wanted)) return;
      observer.disconnect();
      afterFrame((at) => resolve(performance.timeOrigin + at));
    });
    observer.observe(document, { subtree: true, childList: true, attributes: true });
  });
}

/** Begins to note how long each frame takes; `stopFrames` answers all of them, in ms, and how many places were seen. */
function startFrames() {
  const times = [];
  const places = new Set();
  seen.frames = { times, places };
  const { style } = document.getElementById("canvas");
  let last = null;
  const step = (at) => {
    if (seen.frames?.times !== times) return;
    if (last !== null) times.push(at - last);
    last = at;
    places.add(style.cssText);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function stopFrames() {
  const { times, places } = seen.frames;
  seen.frames = null;
  return { times, places: places.size };
}

// Drawn: everything was loaded and has run, and a frame was made of that, and the next one, which waits for it.
addEventListener("load", () => requestAnimationFrame(() => afterFrame((at) => (seen.drawn = at))));

/** When the first text or picture was on the screen, and when all was drawn, in ms since the page was asked for. */
async function painted() {
  while (seen.drawn === null) await new Promise((resolve) => setTimeout(resolve, 20));
  const first = performance.getEntriesByName("first-contentful-paint")[0];
  return { first: first?.startTime ?? null, drawn: seen.drawn };
}

window.bench = { watch, watchFor, answer: () => seen.answer, startFrames, stopFrames, painted };
