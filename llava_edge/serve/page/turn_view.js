// A turn as it is seen: a question with its pictures, or an answer and what can be done with it.

import { element, iconButton, image } from "./dom.js";
import { figuresLine } from "./figures.js";
import { openLightbox } from "./lightbox.js";
import { showMarkdown } from "./markdown.js";
import { notify } from "./notices.js";

/**
 * @typedef {import("./conversation.js").Question} Question
 * @typedef {import("./conversation.js").Answer} Answer
 * @typedef {import("./pictures.js").Picture} Picture
 * @typedef {{edit: (at: number) => void, again: (at: number) => void}} Acts on the turn of a number
 */

const WIDEST = 288; // pixels
const HIGHEST = 256;
const NOTES = {
  "": "The answer broke off.",
  stop: "",
  length: "The answer reached its limit of tokens. Options can raise it, up to the whole context.",
  stopped: "Stopped.",
  failed: "",
};

/**
 * @param {Question | Answer} turn
 * @param {number} at its number
 * @param {boolean} growing whether it is an answer that is not complete
 * @param {Acts} acts
 */
export function turnView(turn, at, growing, acts) {
  const user = turn.role === "user";
  const heading = element("h2", { class: "unseen" }, user ? "Question" : "Answer");
  const parts = user ? question(turn, at, acts) : answer(turn, at, growing, acts);
  return element("article", { class: user ? "question" : "answer" }, heading, ...parts);
}

/**
 * @param {Question} question
 * @param {number} at
 * @param {Acts} acts
 */
function question({ words, pictures }, at, acts) {
  const edit = iconButton("edit", "Edit the question", () => acts.edit(at));
  const actions = element("div", { class: "actions" }, ...copyButtons("the question", words), edit);
  const bubble = words ? [element("p", { class: "bubble" }, words)] : [];
  const said = element("div", { class: "said" }, ...bubble, actions);
  return pictures.length ? [gallery(pictures), said] : [said];
}

/**
 * @param {Answer} answer
 * @param {number} at
 * @param {boolean} growing
 * @param {Acts} acts
 */
function answer(answer, at, growing, acts) {
  const words = element("div", { class: "words", "aria-busy": String(growing) });
  showMarkdown(words, answer.words);
  if (!growing) return [words, ...answerEnd(answer, at, acts)];
  const waiting = element("span", {}, "Waiting for the server");
  return answer.words ? [words] : [words, element("p", { class: "progress" }, waiting)];
}

/**
 * What stands below an answer that grows no more.
 * @param {Answer} answer
 * @param {number} at
 * @param {Acts} acts
 */
export function answerEnd({ words, finish, error, model, figures }, at, acts) {
  const notes = NOTES[finish] ? [element("p", { class: "note" }, NOTES[finish])] : [];
  if (error) notes.push(element("p", { class: "error" }, error));
  const again = iconButton("again", error ? "Try again" : "Answer again", () => acts.again(at));
  const line = figures ? [figuresLine(figures, model)] : [];
  const actions = [...copyButtons("the answer", words), again, ...line];
  return [...notes, element("div", { class: "actions" }, ...actions)];
}

/** @param {Picture[]} pictures */
function gallery(pictures) {
  const items = pictures.map((_, at) => element("li", {}, thumbnail(pictures, at)));
  return element("ul", { class: "pictures", "aria-label": "Pictures" }, ...items);
}

/**
 * @param {Picture[]} pictures
 * @param {number} at
 */
function thumbnail(pictures, at) {
  const { name, width, height, blob } = pictures[at];
  const label = `Enlarge ${name || `picture ${at + 1}`}`;
  const shown = image(blob, "");
  const scale = Math.min(1, WIDEST / width, HIGHEST / height);
  shown.width = width * scale; // its place is kept while it is decoded
  shown.height = height * scale;
  const open = () => openLightbox(pictures, at);
  return element("button", { type: "button", "aria-label": label, onclick: open }, shown);
}

/**
 * A button that copies words, where there are any.
 * @param {string} what
 * @param {string} words
 */
function copyButtons(what, words) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(words);
      notify(`Copied ${what}.`);
    } catch {
      notify("The browser does not let this page copy. Select the words and copy them by hand.");
    }
  };
  return words ? [iconButton("copy", `Copy ${what}`, copy)] : [];
}
