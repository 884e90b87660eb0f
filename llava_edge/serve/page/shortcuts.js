// Keys that work anywhere on the page, and the list of them.

import { show } from "./dialogs.js";
import { byId, element } from "./dom.js";

const APPLE = /Mac|iPhone|iPad/.test(navigator.platform);
const COMMAND = APPLE ? "⌘" : "Ctrl";

/**
 * @typedef {{keys: string[], means: string, act?: () => void}} Shortcut
 *   without `act` where another part of the page listens
 */

/**
 * @param {{[name: string]: () => void, stop: () => boolean}} acts named create, search, pictures,
 *   options and stop; the last tells whether there was anything to stop
 */
export function startShortcuts(acts) {
  const list = () => show("shortcuts");
  /** @type {Shortcut[]} */
  const shortcuts = [
    { keys: ["Enter"], means: "Send the question" },
    { keys: ["Shift", "Enter"], means: "Begin a new line" },
    { keys: ["↑"], means: "Edit the last question, from an empty field" },
    { keys: ["PgUp", "PgDn"], means: "Scroll the conversation" },
    { keys: ["Esc"], means: "Stop the answer, or leave off editing" },
    { keys: [COMMAND, "U"], means: "Choose pictures", act: acts.pictures },
    { keys: [COMMAND, "V"], means: "Paste pictures" },
    { keys: [COMMAND, "K"], means: "Search conversations", act: acts.search },
    { keys: [COMMAND, "Shift", "O"], means: "Begin a new conversation", act: acts.create },
    { keys: [COMMAND, ","], means: "Options", act: acts.options },
    { keys: [COMMAND, "/"], means: "This list", act: list },
  ];
  const rows = shortcuts.flatMap(({ keys, means }) => [
    element("dt", {}, ...keys.map((key) => element("kbd", {}, key))),
    element("dd", {}, means),
  ]);
  byId("shortcuts")
    .querySelector("dl")
    .replaceChildren(...rows);
  byId("open-shortcuts").onclick = list;
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape" && acts.stop()) return event.preventDefault();
    const act = shortcuts.find((shortcut) => shortcut.act && pressed(event, shortcut.keys))?.act;
    if (!act) return;
    event.preventDefault();
    act();
  });
}

/**
 * @param {KeyboardEvent} event
 * @param {string[]} keys the last of which is a character
 */
function pressed(event, keys) {
  const last = keys[keys.length - 1];
  const command = APPLE ? event.metaKey : event.ctrlKey;
  if (!command || event.altKey || event.key.toUpperCase() !== last) return false;
  return last === "/" || event.shiftKey === keys.includes("Shift"); // some type / with Shift
}
