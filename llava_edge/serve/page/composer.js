// Where a question is made of words and pictures.

import { byId, element, iconButton, image } from "./dom.js";
import { startIntake } from "./intake.js";
import { openLightbox } from "./lightbox.js";
import { announce, notify } from "./notices.js";
import { shrink } from "./pictures.js";

/**
 * @typedef {import("./conversation.js").Question} Question
 * @typedef {import("./pictures.js").Picture} Picture
 * @typedef {object} Acts
 * @property {(question: Question, at: number | null) => void} send in place of turn `at`, or as new
 * @property {() => void} stop
 * @property {() => void} editLast
 */

const TOUCH = matchMedia("(pointer: coarse)"); // where Enter begins a new line

export class Composer {
  /** @type {Picture[]} */
  #pictures = [];
  #adding = 0; // pictures that are being made small
  #ready = false;
  #busy = false;
  /** @type {number | null} which turn the question replaces */
  #replaces = null;
  #words = byId("words");

  /** @param {Acts} acts */
  constructor(acts) {
    this.acts = acts;
    byId("composer").onsubmit = (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#send();
    };
    byId("stop").onclick = acts.stop;
    byId("cancel-edit").onclick = () => this.clear();
    this.#words.oninput = () => this.#showState();
    this.#words.onkeydown = (/** @type {KeyboardEvent} */ event) => this.#press(event);
    startIntake((files) => this.add(files));
    this.#show();
  }

  /** @param {boolean} ready whether the server takes questions */
  set ready(ready) {
    this.#ready = ready;
    this.#showState();
  }

  /** @param {boolean} busy whether an answer grows */
  set busy(busy) {
    const focused = document.activeElement === byId("stop");
    this.#busy = busy;
    this.#showState();
    if (focused && !busy) this.focus();
  }

  get editing() {
    return this.#replaces !== null;
  }

  focus() {
    if (!TOUCH.matches) this.#words.focus(); // which would open the keyboard on the screen
  }

  clear() {
    this.#fill({ role: "user", words: "", pictures: [] }, null);
  }

  /**
   * Takes a question back, to be sent again in place of a turn.
   * @param {Question} question
   * @param {number} at
   */
  edit(question, at) {
    this.#fill(question, at);
    this.#words.focus();
    this.#words.setSelectionRange(question.words.length, question.words.length);
    announce("Editing a question");
  }

  /** @param {string} words that begin a question */
  suggest(words) {
    this.#words.value = words;
    this.#showState();
    this.focus();
  }

  /** @param {Iterable<File>} files */
  async add(files) {
    const waiting = [...files];
    this.#adding += waiting.length;
    this.#show();
    this.focus();
    for (const file of waiting) {
      await this.#addOne(file);
      this.#adding--;
      this.#show();
    }
    if (waiting.length) announce(`Pictures to send: ${this.#pictures.length}`);
  }

  /** @param {File} file */
  async #addOne(file) {
    try {
      this.#pictures.push(await shrink(file));
    } catch (error) {
      notify(/** @type {Error} */ (error).message);
    }
  }

  /**
   * @param {Question} question
   * @param {number | null} at
   */
  #fill({ words, pictures }, at) {
    this.#replaces = at;
    this.#pictures = [...pictures];
    this.#words.value = words;
    this.#show();
    this.focus();
  }

  #send() {
    if (byId("send").disabled) return;
    const words = this.#words.value.trim();
    const question = /** @type {Question} */ ({ role: "user", words, pictures: this.#pictures });
    const at = this.#replaces;
    this.clear();
    this.acts.send(question, at);
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    const empty = !this.#words.value && !this.#pictures.length;
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !TOUCH.matches) {
      event.preventDefault();
      this.#send();
    } else if (event.key === "ArrowUp" && empty && !this.#busy) {
      event.preventDefault();
      this.acts.editLast();
    }
  }

  #show() {
    this.#showState();
    this.#showPictures();
  }

  /** All but the pictures, which would be drawn again for each key. */
  #showState() {
    const empty = !this.#words.value.trim() && !this.#pictures.length;
    byId("send").disabled = empty || this.#adding > 0 || !this.#ready || this.#busy;
    byId("send").hidden = this.#busy;
    byId("stop").hidden = !this.#busy;
    byId("editing").hidden = !this.editing;
    this.#fitWords();
  }

  #showPictures() {
    const pending = byId("pending");
    const waiting = Array.from({ length: this.#adding }, () =>
      element("li", { class: "thumbnail waiting" }),
    );
    pending.replaceChildren(...this.#pictures.map((_, at) => this.#thumbnail(at)), ...waiting);
    pending.hidden = !pending.children.length;
    pending.ariaBusy = String(this.#adding > 0);
  }

  /** @param {number} at */
  #thumbnail(at) {
    const name = this.#pictures[at].name || `picture ${at + 1}`;
    const open = () => openLightbox(this.#pictures, at);
    const remove = () => {
      this.#pictures = this.#pictures.filter((_, other) => other !== at);
      this.#show();
      this.focus();
    };
    const attributes = { type: "button", "aria-label": `Enlarge ${name}`, onclick: open };
    const enlarge = element("button", attributes, image(this.#pictures[at].blob, ""));
    const close = iconButton("close", `Remove ${name}`, remove);
    return element("li", { class: "thumbnail" }, enlarge, close);
  }

  /** The field grows with its words, where the style sheet's `field-sizing` cannot do it. */
  #fitWords() {
    if (CSS.supports("field-sizing", "content")) return;
    this.#words.style.height = "auto";
    this.#words.style.height = `${this.#words.scrollHeight}px`;
  }
}
