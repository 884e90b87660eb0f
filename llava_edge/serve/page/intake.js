// Where pictures come from: the file picker, the camera, the clipboard, a drop.

import { hasCamera, takePhoto } from "./camera.js";
import { byId } from "./dom.js";
import { notify } from "./notices.js";

/** @typedef {(files: Iterable<File>) => void} Take */

/** @param {Take} take called with all files that come in */
export function startIntake(take) {
  onEach("[data-action=choose]", choosePictures);
  onEach("[data-action=photograph]", () => photograph(take));
  for (const input of [byId("picture-files"), byId("photo-file")]) {
    input.onchange = () => {
      take([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    };
  }
  document.addEventListener("paste", (event) => paste(event, take));
  startDrops(take);
}

export function choosePictures() {
  byId("picture-files").click();
}

/**
 * @param {string} selector of buttons
 * @param {() => void} act
 */
function onEach(selector, act) {
  for (const button of document.querySelectorAll(selector)) button.addEventListener("click", act);
}

/** @param {Take} take */
async function photograph(take) {
  if (!hasCamera) return byId("photo-file").click(); // phones offer their camera for it
  try {
    const photo = await takePhoto();
    if (photo) take([photo]);
  } catch (error) {
    notify(/** @type {Error} */ (error).message);
  }
}

/**
 * @param {ClipboardEvent} event
 * @param {Take} take
 */
function paste(event, take) {
  const files = event.clipboardData?.files ?? [];
  const words = event.clipboardData?.types.includes("text/plain"); // spreadsheets give both
  if (!files.length || words || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  take(files);
}

/** @param {Take} take */
function startDrops(take) {
  const overlay = byId("drop");
  const holdsFiles = (/** @type {DragEvent} */ event) =>
    event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragenter", (event) => (overlay.hidden = !holdsFiles(event)));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) overlay.hidden = true; // the pointer left the window
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // the browser would open the file in place of the page
    overlay.hidden = true;
    if (holdsFiles(event)) take(event.dataTransfer?.files ?? []);
    else notify("Only files of pictures can be dropped here. Save the picture first.");
  });
}
