// Conversations as a JSON file and back, pictures included.

import { blobOf, dataUrl } from "./pictures.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */

const FORMAT = "llava-edge conversations";
const VERSION = 1;
const FINISHES = ["stop", "length", "stopped", "failed"];

/**
 * @param {Conversation[]} conversations
 * @returns {Promise<Blob>} a JSON file
 */
export async function pack(conversations) {
  const packed = await Promise.all(
    conversations.map(async (one) => ({ ...one, turns: await packTurns(one.turns) })),
  );
  const text = JSON.stringify({ format: FORMAT, version: VERSION, conversations: packed }, null, 1);
  return new Blob([text], { type: "application/json" });
}

/** @param {Conversation["turns"]} turns */
function packTurns(turns) {
  return Promise.all(
    turns.map(async (turn) => {
      if (turn.role === "assistant") return turn;
      const pictures = turn.pictures.map(async ({ blob, ...rest }) => ({
        ...rest,
        data: await dataUrl(blob),
      }));
      return { ...turn, pictures: await Promise.all(pictures) };
    }),
  );
}

/**
 * @param {string} text of a file that `pack` wrote
 * @returns {Conversation[]}
 * @throws {Error} whose message is for the user; then nothing of the file is used
 */
export function unpack(text) {
  let file;
  try {
    file = JSON.parse(text);
  } catch {
    throw new Error("The file is no JSON. Choose one that Export has written.");
  }
  if (file?.format !== FORMAT || !Array.isArray(file.conversations)) {
    throw new Error(
      "The file holds no conversations of this page. Choose one that Export has written.",
    );
  }
  if (file.version !== VERSION)
    throw new Error(`The file has version ${file.version}; this page reads version ${VERSION}.`);
  return file.conversations.map(conversation);
}

/**
 * Each field is read by name and type, so that nothing else of a stranger's file gets in.
 * @param {any} from
 * @returns {Conversation}
 */
function conversation(from) {
  if (!/^[\w-]{1,64}$/.test(from?.id) || !Array.isArray(from.turns))
    throw new Error("A conversation in the file has no id or no turns.");
  return {
    id: from.id,
    title: text(from.title),
    named: from.named === true,
    created: number(from.created),
    updated: number(from.updated),
    turns: from.turns.map(turn),
  };
}

/**
 * @param {any} from
 * @returns {import("./conversation.js").Turn}
 */
function turn(from) {
  if (from?.role === "user") {
    const pictures = Array.isArray(from.pictures) ? from.pictures : [];
    return { role: "user", words: text(from.words), pictures: pictures.map(picture) };
  }
  if (from?.role !== "assistant")
    throw new Error("A turn in the file is neither a question nor an answer.");
  return {
    role: "assistant",
    words: text(from.words),
    finish: FINISHES.includes(from.finish) ? from.finish : "stop",
    error: text(from.error),
    model: text(from.model),
    figures: from.figures ? figures(from.figures) : null,
  };
}

/** @param {any} from */
function picture(from) {
  return {
    name: text(from?.name),
    width: number(from?.width),
    height: number(from?.height),
    blob: blobOf(text(from?.data)),
  };
}

/** @param {any} from */
function figures(from) {
  const { tokens, speed, prompt, known, wait, used } = from;
  return {
    tokens: number(tokens),
    speed: number(speed),
    prompt: number(prompt),
    known: number(known),
    wait: number(wait),
    used: number(used),
  };
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value */
function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
