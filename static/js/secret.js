// What was shown on demand ([data-secret]) is not there any more when somebody comes back to the page with Back: the
// browser may keep a page that is left as it was, and somebody else may sit before it by then.

addEventListener("pagehide", () => {
  for (const place of document.querySelectorAll("[data-secret]")) place.replaceChildren();
});

// Hidden at once, whatever becomes of the request that says so.
document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-hide]")) return;
  event.target.closest("[data-secret]").querySelector("code").textContent = "";
});

addEventListener("pageshow", (event) => {
  if (event.persisted && document.querySelector("[data-secret]")) location.reload();
});
