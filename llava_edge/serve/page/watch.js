// Whether the server is there: asked every few seconds, more often while it is not.

import { health } from "./client.js";
import { byId } from "./dom.js";
import { announce } from "./notices.js";

const READY = 10_000; // milliseconds between two looks
const NOT_READY = 1_000;
const NAMES = {
  ready: "The server is ready.",
  loading: "The model is being loaded.",
  away: "The server is away.",
};

let timer = 0;
let state = "unknown";

/** @type {(ready: boolean) => void} */
let changed = () => {};

/** @param {(ready: boolean) => void} act called when the server comes or goes */
export function startWatch(act) {
  changed = act;
  document.addEventListener("visibilitychange", look);
  addEventListener("online", look);
  look();
}

/** Looks at once, as after a request that failed. */
export async function look() {
  clearTimeout(timer);
  const found = await health();
  show(found);
  clearTimeout(timer); // of a look that ran beside this one
  if (!document.hidden) timer = setTimeout(look, found.state === "ready" ? READY : NOT_READY);
}

/** @param {import("./client.js").Health} found */
function show(found) {
  const banner = byId("banner");
  const message = found.state === "ready" ? "" : found.message || NAMES[found.state];
  banner.textContent = message;
  banner.hidden = !message;
  if (found.state === state) return;
  if (found.state !== "ready" || state !== "unknown") announce(message || NAMES.ready);
  state = found.state;
  byId("light").dataset.state = state;
  byId("light").title = NAMES[found.state];
  changed(state === "ready");
}
