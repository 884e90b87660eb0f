// What a conversation is, and how it goes over the wire.

import { dataUrl } from "./pictures.js";

/**
 * @typedef {import("./pictures.js").Picture} Picture
 *
 * @typedef {object} Figures
 * @property {number} tokens of the answer
 * @property {number} speed in tokens a second
 * @property {number} prompt its tokens
 * @property {number} known those of them that were in the server's cache
 * @property {number} wait seconds that the prompt took
 * @property {number} used tokens of prompt and answer together
 *
 * @typedef {object} Question
 * @property {"user"} role
 * @property {string} words
 * @property {Picture[]} pictures
 *
 * @typedef {object} Answer
 * @property {"assistant"} role
 * @property {string} words
 * @property {"" | "stop" | "length" | "stopped" | "failed"} finish "" while it grows
 * @property {string} error what the server said of a failure
 * @property {string} model
 * @property {Figures | null} figures
 *
 * @typedef {Question | Answer} Turn
 *
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title
 * @property {boolean} named whether the user gave the title
 * @property {number} created milliseconds since 1970
 * @property {number} updated
 * @property {Turn[]} turns
 */

/** @returns {Conversation} */
export function newConversation() {
  const now = Date.now();
  return { id: newId(), title: "", named: false, created: now, updated: now, turns: [] };
}

/** 128 random bits; crypto.randomUUID is missing where the page comes over plain HTTP. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @returns {Answer} */
export function newAnswer() {
  return { role: "assistant", words: "", finish: "", error: "", model: "", figures: null };
}

/**
 * Whether no answer in it grows, in this tab or another.
 * @param {Conversation} conversation
 */
export function isComplete({ turns }) {
  return turns.every((turn) => turn.role === "user" || turn.finish);
}

/**
 * The beginning of the first question.
 * @param {Turn[]} turns
 */
export function titleOf(turns) {
  const words =
    turns
      .find((turn) => turn.role === "user")
      ?.words.trim()
      .replace(/\s+/g, " ") ?? "";
  return words.length > 60 ? `${words.slice(0, 59)}…` : words || "A picture";
}

/**
 * The turns as messages of the Chat Completions API. An answer without words is left out, and
 * questions that then follow one another go as one, since roles have to alternate.
 * @param {Turn[]} turns
 * @param {string} system
 */
export async function messages(turns, system) {
  /** @type {{role: string, content: any}[]} */
  const sent = system ? [{ role: "system", content: system }] : [];
  for (const turn of turns.filter((turn) => turn.role === "user" || turn.words)) {
    const last = sent[sent.length - 1];
    const content = turn.role === "user" ? await parts(turn) : turn.words;
    if (turn.role === "user" && last?.role === "user") last.content.push(...content);
    else sent.push({ role: turn.role, content });
  }
  return sent;
}

/** @param {Question} question */
async function parts({ words, pictures }) {
  const urls = await Promise.all(pictures.map((picture) => dataUrl(picture.blob)));
  const seen = urls.map((url) => ({ type: "image_url", image_url: { url } }));
  return words ? [...seen, { type: "text", text: words }] : seen;
}
