// What the page says beside the conversation: to screen readers, and in a line that can be undone.

import { byId, element, iconButton } from "./dom.js";

const SHOWN = 6000; // milliseconds; a notice with a button stays until it is closed

let timer = 0;

/** Closes the notice, whose button would undo what is no longer so. */
export function dismiss() {
  byId("toast").hidden = true;
}

/**
 * Tells screen readers a whole state or a finished answer; never single words of a growing one.
 * @param {string} words
 */
export function announce(words) {
  byId("status").textContent = words;
}

/**
 * @param {string} words
 * @param {{label: string, act: () => void}} [action] such as Undo
 */
export function notify(words, action) {
  const toast = byId("toast");
  const act = () => {
    dismiss();
    action?.act();
  };
  clearTimeout(timer);
  if (!action) timer = setTimeout(dismiss, SHOWN);
  const button =
    action && element("button", { type: "button", class: "link", onclick: act }, action.label);
  toast.replaceChildren(
    element("span", {}, words),
    ...(button ? [button] : []),
    iconButton("close", "Close this notice", dismiss),
  );
  toast.hidden = false;
  announce(words);
}
