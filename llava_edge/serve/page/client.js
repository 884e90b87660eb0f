// The server's API as the page uses it: OpenAI's Chat Completions with llama-server's additions
// (`return_progress`, `timings`). Addresses are relative, so the page works behind a path too.

import { events } from "./sse.js";

/**
 * @typedef {{id: string, device: string, context: number}} Model
 *   `context` in tokens; 0 and "" where the server does not say
 * @typedef {{state: "ready" | "loading" | "away", message: string}} Health
 * @typedef {{kind: "accepted"}
 *   | {kind: "progress", done: number, total: number}
 *   | {kind: "words", words: string}
 *   | {kind: "finish", finish: string}
 *   | {kind: "figures", usage?: any, timings?: any, model?: string}} Step
 */

/** What the server refused, in its own words. */
export class ServerError extends Error {
  /**
   * @param {string} message
   * @param {number} status 0 where no reply came
   */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const KEY = "llava-edge key";

/** @type {(reason: string) => Promise<string | null>} asks the user for a key */
let askForKey = async () => null;

/** @type {Promise<string | null> | null} so that two refusals ask once */
let asking = null;

/** @param {(reason: string) => Promise<string | null>} ask */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/** @returns {Promise<Health>} */
export async function health() {
  try {
    const reply = await fetch("health", { cache: "no-store" });
    if (reply.ok) return { state: "ready", message: "" };
    const { message } = await refusal(reply);
    return { state: reply.status === 503 ? "loading" : "away", message };
  } catch {
    return { state: "away", message: "The server does not answer. The page tries again." };
  }
}

/** @returns {Promise<Model[]>} */
export async function models() {
  const reply = await request("v1/models", {});
  const { data } = await reply.json();
  return data.map((/** @type {any} */ { id, meta }) => ({
    id,
    device: meta?.device ?? "",
    context: meta?.n_ctx ?? meta?.n_ctx_train ?? 0,
  }));
}

/**
 * Asks, and tells what happens until the answer is complete.
 * @param {object} body of a chat completion, without what streaming needs
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<Step>}
 * @throws {ServerError}
 */
export async function* ask(body, signal) {
  const streaming = {
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
  };
  const reply = await request("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, ...streaming }),
    signal,
  });
  yield { kind: "accepted" };
  try {
    for await (const chunk of events(reply.body)) yield* steps(chunk);
  } catch (error) {
    if (signal.aborted || error instanceof ServerError) throw error;
    throw new ServerError("The connection broke off before the answer was complete.", 0);
  }
}

/**
 * @param {any} chunk of the stream
 * @returns {Generator<Step>}
 */
function* steps({ error, prompt_progress: progress, choices, usage, timings, model }) {
  if (error) throw new ServerError(error.message ?? "The server failed and did not say why.", 200);
  if (progress) yield { kind: "progress", done: progress.processed, total: progress.total };
  const choice = choices?.[0];
  if (choice?.delta?.content) yield { kind: "words", words: choice.delta.content };
  if (choice?.finish_reason) yield { kind: "finish", finish: choice.finish_reason };
  if (usage || timings) yield { kind: "figures", usage, timings, model };
}

/**
 * A request with the key, which the user is asked for when the server wants one.
 * @param {string} path
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 * @throws {ServerError}
 */
async function request(path, init) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const reply = await send(
      path,
      key ? { ...init, headers: { ...init.headers, Authorization: `Bearer ${key}` } } : init,
    );
    if (reply.ok) return reply;
    const refused = await refusal(reply);
    if (refused.status !== 401 || !(await newKey(refused.message))) throw refused;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} init
 */
async function send(path, init) {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (init.signal?.aborted) throw error;
    throw new ServerError("The server cannot be reached. Is it running?", 0);
  }
}

/**
 * @param {string} reason
 * @returns {Promise<boolean>} whether there is a key to try
 */
async function newKey(reason) {
  asking ??= askForKey(reason).finally(() => (asking = null));
  const key = await asking;
  if (key) sessionStorage.setItem(KEY, key);
  return Boolean(key);
}

/** @param {Response} reply */
async function refusal(reply) {
  try {
    const { error } = await reply.json();
    return new ServerError(error.message, reply.status);
  } catch {
    return new ServerError(`The server answered with status ${reply.status}.`, reply.status);
  }
}
