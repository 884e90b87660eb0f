// A photo from the camera.

import { show } from "./dialogs.js";
import { byId } from "./dom.js";
import { draw, jpeg } from "./pictures.js";

/** Whether the page may ask for the camera: over HTTPS or on this machine (secure contexts). */
export const hasCamera = Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Shows what the camera sees until the user takes the photo or cancels.
 * @returns {Promise<File | null>}
 * @throws {Error} whose message is for the user
 */
export async function takePhoto() {
  const dialog = byId("camera");
  const video = dialog.querySelector("video");
  const stream = await startCamera();
  /** @type {Promise<File> | null} */
  let photo = null;
  video.srcObject = stream;
  dialog.querySelector("[data-action=take]").onclick = () => {
    photo = frame(video);
    dialog.close();
  };
  try {
    await show("camera");
    return await photo;
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }
}

async function startCamera() {
  try {
    return await navigator.mediaDevices.getUserMedia({
      video: { facingMode: "environment", width: { ideal: 1920 } },
    });
  } catch (error) {
    const refused = error instanceof DOMException && error.name === "NotAllowedError";
    throw new Error(
      refused ? "The browser does not let this page use the camera." : "No camera was found.",
    );
  }
}

/** @param {HTMLVideoElement} video */
async function frame(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  draw(video, canvas);
  return new File([await jpeg(canvas)], "Photo", { type: "image/jpeg" });
}
