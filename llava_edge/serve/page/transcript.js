// The conversation as it is seen: its turns, the answer that grows, and what is in sight.

import { byId, element } from "./dom.js";
import { showMarkdown } from "./markdown.js";
import { answerEnd, turnView } from "./turn_view.js";

/**
 * @typedef {import("./conversation.js").Turn} Turn
 * @typedef {import("./conversation.js").Answer} Answer
 */

const NEAR = 48; // pixels from the end that still count as the end

export class Transcript {
  #scroller = byId("scroller");
  #section = byId("transcript");
  #following = true; // whether the reader is at the end, where new words are kept in sight
  #top = 0; // where the reader was at the last look
  /** @type {Turn[]} */
  #turns = [];
  /** @type {Answer | null} */
  #growing = null;
  #drawing = 0;

  /** @param {import("./turn_view.js").Acts} acts */
  constructor(acts) {
    this.acts = acts;
    this.#scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    byId("to-end").onclick = () => this.toEnd();
    byId("words").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
      const pages = { PageUp: -0.9, PageDown: 0.9 }[event.key];
      if (!pages) return;
      event.preventDefault();
      this.#scroller.scrollBy(0, pages * this.#scroller.clientHeight);
    });
    const sizes = new ResizeObserver(() =>
      this.#following && this.#turns.length ? this.toEnd() : this.#look(),
    );
    sizes.observe(this.#scroller);
    sizes.observe(this.#section);
  }

  /**
   * Shows turns; those at the beginning that are shown already keep their nodes.
   * @param {Turn[]} turns
   * @param {Answer | null} growing the last of them, where it is not complete
   */
  show(turns, growing) {
    let same = 0;
    while (same < turns.length && turns[same] === this.#turns[same]) same++;
    while (this.#section.children.length > same) this.#section.lastElementChild.remove();
    this.#turns = turns;
    this.#growing = growing;
    for (let at = same; at < turns.length; at++) {
      const view = turnView(turns[at], at, turns[at] === growing, this.acts);
      this.#section.append(view);
    }
    this.#section.hidden = !turns.length;
    byId("welcome").hidden = Boolean(turns.length);
    if (turns.length) this.toEnd();
    else this.#scroller.scrollTop = 0;
  }

  toEnd() {
    this.#following = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#look();
  }

  /** Shows the growing answer's new words with the next frame. */
  grow() {
    this.#drawing ||= requestAnimationFrame(() => this.#drawWords());
  }

  /** The growing answer is complete, or grows no more. */
  complete() {
    const answer = this.#growing;
    if (!answer) return;
    this.#drawWords();
    this.#growing = null;
    this.#part(".words").ariaBusy = "false";
    this.#section.lastElementChild.append(...answerEnd(answer, this.#turns.length - 1, this.acts));
  }

  #drawWords() {
    cancelAnimationFrame(this.#drawing);
    this.#drawing = 0;
    if (!this.#growing) return;
    showMarkdown(this.#part(".words"), this.#growing.words);
    this.#part(".progress")?.remove();
  }

  /**
   * Says what happens before the first word.
   * @param {string} words
   * @param {{done: number, total: number}} [share]
   */
  progress(words, share) {
    const bar =
      share && element("progress", { value: share.done, max: share.total, "aria-label": words });
    this.#part(".progress")?.replaceChildren(element("span", {}, words), ...(bar ? [bar] : []));
  }

  /**
   * @param {string} selector
   * @returns {any} of the last turn
   */
  #part(selector) {
    return this.#section.lastElementChild?.querySelector(selector);
  }

  /** Only a reader who goes up leaves the end; words that arrive do not take it away. */
  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    const atEnd = scrollHeight - scrollTop - clientHeight < NEAR;
    this.#following = atEnd || (this.#following && scrollTop >= this.#top);
    this.#top = scrollTop;
    byId("to-end").hidden = this.#following || !this.#turns.length;
  }
}
