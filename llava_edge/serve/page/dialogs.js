// Dialogs of index.html. The browser's own <dialog> keeps the focus inside, closes on Escape and
// gives the focus back to where it was.

import { byId } from "./dom.js";

/**
 * Opens a dialog; its buttons with data-action="cancel" and a click beside it close it.
 * @param {string} id
 * @returns {Promise<void>} once it is closed
 */
export function show(id) {
  const dialog = byId(id);
  dialog.onclick = (/** @type {MouseEvent} */ { target }) => {
    const button = target instanceof Element && target.closest("[data-action=cancel]");
    if (target === dialog || button) dialog.close();
  };
  dialog.showModal();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(), { once: true }),
  );
}

/**
 * Asks for what a dialog's form holds.
 * @param {string} id
 * @returns {Promise<FormData | null>} null where the user cancelled
 */
export async function fill(id) {
  const dialog = byId(id);
  const form = dialog.querySelector("form");
  /** @type {FormData | null} */
  let filled = null;
  form.onsubmit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    filled = new FormData(form);
    dialog.close();
  };
  await show(id);
  return filled;
}
