// Answers may overtake each other: the answer to a POST, rendered while its work was still going on, can come after
// the live update that shows it done. Every live fragment says when it was rendered ([data-now]); one that is older than
// what is on the page is left out. Refusals always count: they say something that is nowhere else.

// An answer is never so late; what looks older was rendered after the server's clock had been set back.
const LATEST_MS = 30_000;

const renderedAt = (element) => Date.parse(element?.dataset?.now ?? "");

function place(target) {
  return typeof target === "string" ? document.querySelector(target) : target;
}

const lookAgain = () => document.body.dispatchEvent(new CustomEvent("panel-refresh"));

document.addEventListener("htmx:before:swap", (event) => {
  const { ctx, tasks } = event.detail;
  if (ctx.response?.status !== 200) return;
  for (const task of [...tasks]) {
    const fresh = task.fragment.firstElementChild;
    const shown = place(task.target);
    const late = renderedAt(shown) - renderedAt(fresh);
    if (!shown || fresh?.id !== shown.id || !(late > 0 && late < LATEST_MS)) continue;
    // What was said to one's own command is nowhere else: it is shown, and what is true now is asked for again.
    if (fresh.querySelector("[data-said][hx-morph-skip]")) setTimeout(lookAgain);
    else tasks.splice(tasks.indexOf(task), 1);
  }
});
