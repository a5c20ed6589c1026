// Follows the server over a websocket: says on <body> what to look at again ("drive-7"), and in the footer, truthfully,
// whether the page is live. Elements that care carry hx-trigger="drive-7 from:body" and refetch themselves.
//
// <body data-infrastructure="1" data-event="812" data-static="/static/4f1c…/">: which infrastructure, the event up to which
// the page is right, and where its scripts and styles are from: a server of another version says that they are outdated.
// #connection holds a [role=status] for the word and a [data-as-of] for the time; <html data-ui-connection="live">,
// one of connecting, live, reconnecting, offline, is for CSS.

const LOST_MS = 25_000; // the server says something every 10 s
const OFFLINE_MS = 15_000;
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 10_000;
const CROWD = 10; // more topics than this in one window become one refresh of everything
const CROWD_MS = 100;

const WORDS = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", offline: "Offline" };
const OUTDATED = "Updated, please reload"; // in place of "Live"

const { body, documentElement: root } = document;
const { infrastructure, static: files } = body.dataset;

let state = "connecting";
let since = body.dataset.event ?? "";
let heardAt = new Date(); // the page itself has just come from the server
let socket = null;
let outdated = false; // the server is of another version than this page's scripts
let failures = 0;
let patience; // until a silent socket counts as lost
let retry; // until the next attempt
let givingUp; // until the page calls itself offline

// ── What was said ────────────────────────────────────────────────────────────

const say = (name) => body.dispatchEvent(new CustomEvent(name));

function lookAtEverything() {
  say("canvas-refresh");
  say("panel-refresh");
}

let said = 0;
let crowded = false;

function lookAt(topics) {
  if (crowded || !topics.length) return; // the refresh at the end of the window is for these as well
  if (said === 0) {
    setTimeout(() => {
      said = 0;
      if (crowded) lookAtEverything();
      crowded = false;
    }, CROWD_MS);
  }
  said += topics.length;
  if (said > CROWD) crowded = true;
  else topics.forEach(say);
}

// What was said while a new panel was on its way, that panel has not heard: it is said once more. What was there already
// has heard it, and asks again by itself.

const HEARD_MOST = 100;
const COMES_ANEW = new Set(["panel", "world"]);
const heard = []; // the newest last

function sayAgain(event) {
  const { target, response } = event.detail.ctx;
  const newest = response?.headers.get("X-Newest-Event"); // the answer is at least as new
  if (!newest || !COMES_ANEW.has(target?.id)) return;
  const missed = heard.filter((message) => message.id > Number(newest));
  if (missed.length === HEARD_MOST || missed.some((message) => message.refetch)) lookAtEverything();
  else lookAt([...new Set(missed.flatMap((message) => message.topics ?? []))]);
}

function move(times) {
  // One search of the page, not one for each of a thousand servers.
  for (const place of document.querySelectorAll("[data-seen]")) {
    if (!Object.hasOwn(times, place.dataset.seen)) continue;
    const at = times[place.dataset.seen];
    if (place instanceof HTMLTimeElement) place.dateTime = at;
    else place.dataset.seenAt = at;
  }
}

function hear(message) {
  heardAt = new Date();
  failures = 0;
  since = message.id;
  outdated = message.outdated ?? false;
  clearTimeout(givingUp);
  wait();
  show("live");
  move(message.seen ?? {});
  heard.push(message);
  if (heard.length > HEARD_MOST) heard.shift();
  if (message.refetch) lookAtEverything();
  else lookAt(message.topics ?? []);
}

// ── What is said ─────────────────────────────────────────────────────────────

let looksAt = "";

function tell() {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ looks_at: looksAt }));
}

function look(event) {
  if (event.detail === looksAt) return;
  looksAt = event.detail;
  tell();
}

// ── The socket ───────────────────────────────────────────────────────────────

function address() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const from = files ? `&static=${files}` : "";
  return `${scheme}//${location.host}/ws/infrastructures/${infrastructure}/?since=${since}${from}`;
}

function wait() {
  clearTimeout(patience);
  patience = setTimeout(lose, LOST_MS);
}

function drop() {
  clearTimeout(patience);
  clearTimeout(retry);
  const old = socket;
  socket = null; // what it still says no longer counts
  old?.close();
}

function connect() {
  drop();
  const own = new WebSocket(address());
  socket = own;
  own.addEventListener("open", () => own === socket && tell());
  own.addEventListener("message", (event) => own === socket && hear(JSON.parse(event.data)));
  own.addEventListener("close", () => own === socket && lose());
  wait(); // an attempt can hang as well
}

function lose() {
  drop();
  if (state === "connecting" || state === "live") {
    givingUp = setTimeout(show, OFFLINE_MS, "offline");
    show("reconnecting");
  }
  // A hint only: a server on the same machine answers without any network.
  if (!navigator.onLine) show("offline");
  const longest = Math.min(RETRY_FIRST_MS * 2 ** failures, RETRY_MAX_MS);
  failures += 1;
  // Not all pages at once when a server comes back.
  retry = setTimeout(connect, longest * (0.5 + Math.random() / 2));
}

function tryNow() {
  const silent = Date.now() - heardAt.getTime() > LOST_MS; // timers rest while a computer sleeps
  if (state === "live" && !silent) return;
  if (state === "live") lose();
  failures = 0;
  connect();
}

// ── What is shown ────────────────────────────────────────────────────────────

function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text; // said aloud only when it changes
}

function paint() {
  root.dataset.uiConnection = state;
  const place = document.getElementById("connection");
  if (!place) return;
  const time = heardAt.toISOString().slice(11, 19);
  place.dataset.state = state;
  write(place.querySelector("[role=status]"), state === "live" && outdated ? OUTDATED : WORDS[state]);
  write(place.querySelector("[data-as-of]"), state === "live" ? `· ${time}` : `· shown as of ${time}`);
}

function show(next) {
  state = next;
  paint();
  if (state === "offline") lock();
  else unlock();
}

// ── Offline: nothing is sent that could be lost ──────────────────────────────

const SENDS = "[hx-post], [hx-put], [hx-patch], [hx-delete]";
const writes = (form) => form?.method === "post" || form?.matches(SENDS);

function lock() {
  for (const control of document.querySelectorAll("button, input[type=submit], a[hx-post], a[hx-delete]")) {
    const sends = control.matches(SENDS) || (control.type === "submit" && writes(control.form));
    if (!sends || control.getAttribute("aria-disabled") === "true") continue;
    control.dataset.uiDescribedby = control.getAttribute("aria-describedby") ?? "";
    control.setAttribute("aria-disabled", "true");
    control.setAttribute("aria-describedby", "connection");
  }
}

function unlock() {
  for (const control of document.querySelectorAll("[data-ui-describedby]")) {
    control.removeAttribute("aria-disabled");
    if (control.dataset.uiDescribedby) control.setAttribute("aria-describedby", control.dataset.uiDescribedby);
    else control.removeAttribute("aria-describedby");
    delete control.dataset.uiDescribedby;
  }
}

function hold(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
  const reason = document.getElementById("connection");
  if (!reason) return;
  if (!reason.hasAttribute("tabindex")) reason.tabIndex = -1;
  reason.focus(); // reads "Offline · shown as of 14:01:58"
}

function holdSubmit(event) {
  if (state === "offline" && writes(event.target)) hold(event);
}

function holdRequest(event) {
  if (state === "offline" && event.detail.ctx.request.method !== "GET") hold(event);
}

// ── Beginning ────────────────────────────────────────────────────────────────

if (infrastructure) {
  document.addEventListener("looks-at", look);
  document.addEventListener("submit", holdSubmit, true);
  document.addEventListener("htmx:config:request", holdRequest, true);
  document.addEventListener("htmx:after:swap", sayAgain);
  document.addEventListener("htmx:after:settle", () => show(state)); // what was swapped in knows nothing of it
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && tryNow());
  addEventListener("online", tryNow);
  addEventListener("offline", connect); // the only way to know whether this server is meant
  addEventListener("pagehide", drop);
  addEventListener("pageshow", (event) => event.persisted && connect());
  paint();
  connect();
}
