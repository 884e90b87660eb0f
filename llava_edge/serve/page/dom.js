// Making and finding elements. Nothing here reads HTML: words become text nodes and stay words.

/**
 * The element of the page with this id, which index.html is known to hold.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/**
 * A new element. Keys of `attributes` that begin with "on" are listeners; a value of `true` is an
 * attribute without value; `false`, `null` and `undefined` leave the attribute out.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children);
  return made;
}

/**
 * An icon of index.html's sprite; its meaning is in the label of the button around it.
 * @param {string} name
 */
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const drawing = document.createElementNS(space, "svg");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#icon-${name}`);
  drawing.append(use);
  return drawing;
}

/**
 * A button that shows an icon and says what it does.
 * @param {string} name of the icon
 * @param {string} label
 * @param {() => void} act
 */
export function iconButton(name, label, act) {
  const attributes = { type: "button", class: "icon-button", "aria-label": label, title: label };
  return element("button", { ...attributes, onclick: act }, icon(name));
}

/**
 * A picture as <img>; its address lives only until it is loaded.
 * @param {Blob} blob
 * @param {string} alt
 */
export function image(blob, alt) {
  const shown = element("img", { alt });
  showBlob(shown, blob);
  return shown;
}

/**
 * @param {HTMLImageElement} shown
 * @param {Blob} blob
 */
export function showBlob(shown, blob) {
  const url = URL.createObjectURL(blob);
  const release = () => URL.revokeObjectURL(url);
  shown.addEventListener("load", release, { once: true });
  shown.addEventListener("error", release, { once: true });
  shown.src = url;
}
