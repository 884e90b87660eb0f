// All conversations that the browser keeps: read, exported to a file, imported from one.

import { element } from "./dom.js";
import { notify } from "./notices.js";
import { all, save } from "./store.js";
import { pack, unpack } from "./transfer.js";

const DOWNLOAD = 60_000; // milliseconds after which the browser has surely begun to write

/**
 * The newest first; none where the browser keeps nothing.
 * @returns {Promise<import("./conversation.js").Conversation[]>}
 */
export function kept() {
  return all().catch(() => []);
}

export async function exportAll() {
  const url = URL.createObjectURL(await pack(await kept()));
  const name = `llava-edge-${new Date().toISOString().slice(0, 10)}.json`;
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), DOWNLOAD);
}

/**
 * Keeps the conversations of a file, except those that are as new here already.
 * @param {File} file
 */
export async function importFrom(file) {
  try {
    const here = new Map((await kept()).map(({ id, updated }) => [id, updated]));
    const found = unpack(await file.text());
    const newer = found.filter(({ id, updated }) => updated > (here.get(id) ?? -1));
    for (const conversation of newer) await save(conversation);
    const rest = newer.length < found.length ? " The others were here already." : "";
    notify(`Imported ${newer.length} of ${found.length} conversations.${rest}`);
  } catch (error) {
    notify(/** @type {Error} */ (error).message);
  }
}
