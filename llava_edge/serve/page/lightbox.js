// A picture in full size, and the others beside it.

import { show } from "./dialogs.js";
import { byId, showBlob } from "./dom.js";

/**
 * @param {import("./pictures.js").Picture[]} pictures
 * @param {number} first which of them to show
 */
export function openLightbox(pictures, first) {
  const dialog = byId("lightbox");
  const previous = dialog.querySelector(".previous");
  const next = dialog.querySelector(".next");
  let at = first;
  const turn = (/** @type {number} */ by) => {
    at = (at + by + pictures.length) % pictures.length;
    const { blob, name, width, height } = pictures[at];
    const place = pictures.length > 1 ? `${at + 1} of ${pictures.length} · ` : "";
    const shown = dialog.querySelector("img");
    showBlob(shown, blob);
    shown.alt = name || "Picture";
    dialog.querySelector("figcaption").textContent =
      `${place}${name || "Picture"} · ${width} by ${height}`;
  };
  previous.hidden = next.hidden = pictures.length < 2;
  previous.onclick = () => turn(-1);
  next.onclick = () => turn(1);
  dialog.querySelector(".close").onclick = () => dialog.close();
  dialog.onkeydown = (/** @type {KeyboardEvent} */ { key }) => {
    if (key === "ArrowLeft") turn(-1);
    if (key === "ArrowRight") turn(1);
  };
  turn(0);
  show("lightbox");
}
