// Says a sentence to everyone: words for screen readers, and a toast on the screen for what went wrong, or was done
// where nothing near the hand shows it. The server may send one as well: HX-Trigger {"said": {"sentence": …, "tone": …}}.

const STAYS_MS = { bad: 8000, ok: 6000 };

const announcer = document.getElementById("announcer");
const toasts = document.getElementById("toasts");

function show(sentence, tone) {
  const form = document.getElementById(tone === "bad" ? "toast" : "toast-ok");
  const toast = form?.content.firstElementChild.cloneNode(true);
  if (!toast) return;
  toast.querySelector("[data-sentence]").textContent = sentence;
  toasts.append(toast);
  while (toasts.childElementCount > 3) toasts.firstElementChild.remove();
  const leave = () => {
    if (toast.matches(":hover, :focus-within")) setTimeout(leave, STAYS_MS[tone]);
    else toast.remove();
  };
  setTimeout(leave, STAYS_MS[tone]);
}

/** `tone` "bad" or "ok" is shown as well; anything else is only announced. An alert announces itself. */
export function say(sentence, tone = "") {
  if (!sentence) return;
  if (tone) show(sentence, tone);
  if (tone !== "bad" && announcer) announcer.textContent = sentence;
}

document.addEventListener("said", ({ detail }) => say(detail.sentence, detail.tone ?? "ok"));

toasts?.addEventListener("click", (event) => event.target.closest("[data-dismiss]")?.closest(".toast").remove());
