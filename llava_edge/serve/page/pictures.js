// Pictures on their way in: found in what was dropped or pasted, made small, without metadata.

/** @typedef {{name: string, width: number, height: number, blob: Blob}} Picture */

const LONGEST_SIDE = 1536; // pixels; vision towers see less, and the upload stays below 1 MB
const QUALITY = 0.92;

/**
 * The picture in a file as an upright JPEG of at most 1536 pixels a side. Drawing it anew leaves
 * everything else behind: the place where it was taken, the camera, the thumbnail.
 * @param {File} file
 * @returns {Promise<Picture>}
 * @throws {Error} whose message is for the user, if the browser cannot decode the file
 */
export async function shrink(file) {
  const bitmap = await decode(file);
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  draw(bitmap, canvas);
  bitmap.close();
  return { name: file.name, width: canvas.width, height: canvas.height, blob: await jpeg(canvas) };
}

/** @param {File} file */
async function decode(file) {
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error(
      `${file.name || "The file"} is no picture that this browser can read. Try JPEG, PNG or WebP.`,
    );
  }
}

/**
 * What is transparent becomes white, since JPEG has no transparency.
 * @param {CanvasImageSource} source
 * @param {HTMLCanvasElement} canvas
 */
export function draw(source, canvas) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(source, 0, 0, canvas.width, canvas.height);
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {Promise<Blob>}
 */
export function jpeg(canvas) {
  return new Promise((resolve, reject) => {
    const done = (/** @type {Blob | null} */ blob) =>
      blob ? resolve(blob) : reject(new Error("The browser could not write the picture as JPEG."));
    canvas.toBlob(done, "image/jpeg", QUALITY);
  });
}

/**
 * A blob as a `data:` URL (RFC 2397), as the wire and exported files have it.
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () =>
      reject(new Error("The browser no longer has a picture of this conversation."));
    reader.readAsDataURL(blob);
  });
}

/**
 * The way back. `fetch` would do it, but the page may fetch from its own server only.
 * @param {string} url
 * @returns {Blob}
 */
export function blobOf(url) {
  const found = /^data:(image\/(?:jpeg|png|webp));base64,([A-Za-z0-9+/]+=*)$/.exec(url);
  if (!found) throw new Error("A picture in the file is no JPEG, PNG or WebP in base64.");
  const bytes = Uint8Array.from(atob(found[2]), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: found[1] });
}
