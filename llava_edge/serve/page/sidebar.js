// The list of conversations: search, open, rename, delete. On narrow screens it slides in.

import { byId, element, iconButton } from "./dom.js";

/**
 * @typedef {import("./conversation.js").Conversation} Conversation
 * @typedef {object} Acts
 * @property {(id: string) => void} open
 * @property {(id: string, title: string) => void} rename
 * @property {(id: string) => void} remove
 */

const NARROW = matchMedia("(max-width: 760px)");

export class Sidebar {
  /** @type {Conversation[]} */
  #conversations = [];
  #current = "";
  #drawn = ""; // what the list shows; drawing the same again would take the focus away
  #list = byId("conversations");
  #search = byId("search");

  /** @param {Acts} acts each on the conversation of an id */
  constructor(acts) {
    this.acts = acts;
    this.#search.oninput = () => this.#draw();
    byId("open-sidebar").onclick = () => this.slide(true);
    byId("close-sidebar").onclick = byId("shade").onclick = () => this.slide(false);
    byId("sidebar").onkeydown = (/** @type {KeyboardEvent} */ { key }) => {
      if (key === "Escape") this.slide(false);
    };
    NARROW.onchange = () => this.slide(false);
    this.slide(false);
  }

  /**
   * @param {Conversation[]} conversations
   * @param {string} current the id of the one that is shown
   */
  show(conversations, current) {
    this.#conversations = conversations;
    this.#current = current;
    this.#draw();
  }

  /**
   * Shows or hides the list where it does not stand beside the conversation.
   * @param {boolean} shown
   */
  slide(shown) {
    const sidebar = byId("sidebar");
    const within = sidebar.contains(document.activeElement);
    sidebar.classList.toggle("shown", shown);
    sidebar.inert = NARROW.matches && !shown;
    byId("content").inert = NARROW.matches && shown;
    byId("open-sidebar").setAttribute("aria-expanded", String(shown));
    if (NARROW.matches && shown) byId("close-sidebar").focus();
    if (NARROW.matches && !shown && within) byId("open-sidebar").focus();
  }

  focusSearch() {
    if (NARROW.matches) this.slide(true);
    this.#search.focus();
  }

  #draw() {
    const sought = this.#search.value.trim().toLowerCase();
    const found = this.#conversations.filter((one) => !sought || text(one).includes(sought));
    const drawn = JSON.stringify([
      sought,
      this.#current,
      found.map(({ id, title }) => [id, title]),
    ]);
    if (drawn === this.#drawn || this.#list.querySelector("input")) return;
    this.#drawn = drawn;
    const none = element(
      "li",
      { class: "small" },
      sought ? "Nothing found." : "No conversations yet.",
    );
    this.#list.replaceChildren(...(found.length ? found.map((one) => this.#row(one)) : [none]));
  }

  /** @param {Conversation} conversation */
  #row({ id, title }) {
    const open = () => {
      this.slide(false);
      this.acts.open(id);
    };
    const current = id === this.#current ? "page" : null;
    const name = element(
      "button",
      { type: "button", class: "open", "aria-current": current, title, onclick: open },
      title,
    );
    const rename = iconButton("edit", `Rename ${title}`, () => this.#rename(row, id, title));
    const remove = iconButton("trash", `Delete ${title}`, () => {
      this.acts.remove(id);
      this.#search.focus();
    });
    const row = element("li", {}, name, rename, remove);
    return row;
  }

  /**
   * @param {HTMLElement} row
   * @param {string} id
   * @param {string} title
   */
  #rename(row, id, title) {
    const field = element("input", { value: title, "aria-label": "New title", maxlength: 200 });
    const end = (/** @type {boolean} */ kept) => {
      field.onblur = null;
      const wanted = field.value.trim();
      field.remove();
      this.#drawn = "";
      this.#draw();
      this.#search.focus();
      if (kept && wanted && wanted !== title) this.acts.rename(id, wanted);
    };
    field.onkeydown = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "Enter") end(true);
      if (event.key === "Escape") end(false);
      event.stopPropagation();
    };
    field.onblur = () => end(true);
    row.replaceChildren(field);
    field.focus();
    field.select();
  }
}

/** @param {Conversation} conversation */
function text({ title, turns }) {
  return [title, ...turns.map((turn) => turn.words)].join("\n").toLowerCase();
}
