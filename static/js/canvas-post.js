// Sends what was done on the canvas with the pointer or a key, and answers in a sentence what became of it.

/** Where to send things: data-* of #canvas-addresses. */
export const addresses = document.getElementById("canvas-addresses")?.dataset ?? {};

const headers = () => ({
  ...JSON.parse(document.body.getAttribute("hx-headers:inherited")),
  Accept: "text/plain",
});

/**
 * Answers {ok, said, topics}: whether it was done, the sentence to say, and the topics of cards that are new. `said` is
 * the server's own sentence when it refused; `failed` is what to say when nobody can tell why.
 */
export async function post(url, fields, failed) {
  if (document.documentElement.dataset.uiConnection === "offline") {
    return { ok: false, said: `The editor is offline. ${failed}`, topics: [] };
  }
  try {
    const answer = await fetch(url, { method: "POST", headers: headers(), body: new URLSearchParams(fields) });
    if (answer.redirected) return { ok: false, said: `You are signed out. Sign in again. ${failed}`, topics: [] };
    const plain = (answer.headers.get("content-type") ?? "").startsWith("text/plain");
    const said = plain ? (await answer.text()).trim() : "";
    const topics = (answer.headers.get("x-topics") ?? "").split(/[ ,]+/).filter(Boolean);
    return { ok: answer.ok, said: said || (answer.ok ? "" : `${failed} Try again.`), topics };
  } catch {
    return { ok: false, said: `The editor does not answer. ${failed} Try again when the page says Live.`, topics: [] };
  }
}
