// Says a sentence to everyone: a toast on the screen for what went wrong, words for screen readers in any case.

const STAYS_MS = 8000;

const announcer = document.getElementById("announcer");
const toasts = document.getElementById("toasts");
const form = document.getElementById("toast");

function show(sentence) {
  const toast = form.content.firstElementChild.cloneNode(true);
  toast.querySelector("[data-sentence]").textContent = sentence;
  toast.querySelector("[data-dismiss]").addEventListener("click", () => toast.remove());
  toasts.append(toast);
  while (toasts.childElementCount > 3) toasts.firstElementChild.remove();
  const leave = () => {
    if (toast.matches(":hover, :focus-within")) setTimeout(leave, STAYS_MS);
    else toast.remove();
  };
  setTimeout(leave, STAYS_MS);
}

/** `tone` "bad" is shown as well; anything else is only announced. */
export function say(sentence, tone = "") {
  if (tone === "bad" && form) show(sentence);
  else if (announcer) announcer.textContent = sentence;
}
