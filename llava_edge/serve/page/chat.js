// The conversation that is open, and the answer that grows: asked, streamed, stopped, kept.

import { ask } from "./client.js";
import { messages, newAnswer, newConversation, titleOf } from "./conversation.js";
import { figuresOf } from "./figures.js";
import { announce, dismiss, notify } from "./notices.js";
import { sampling, systemWords } from "./options.js";
import { save } from "./store.js";

/**
 * @typedef {import("./conversation.js").Conversation} Conversation
 * @typedef {import("./conversation.js").Question} Question
 * @typedef {import("./conversation.js").Answer} Answer
 * @typedef {import("./conversation.js").Turn} Turn
 * @typedef {object} Running an answer that grows
 * @property {Conversation} conversation
 * @property {Answer} answer
 * @property {AbortController} abort
 * @property {any} [usage] as the server has told so far
 * @property {any} [timings]
 */

export class Chat {
  conversation = newConversation();
  /** @type {Running | null} one answer at a time, though another conversation may be looked at */
  #running = null;
  /** @type {Promise<void>} ends when the newest answer is kept */
  #answering = Promise.resolve();

  /**
   * @param {import("./transcript.js").Transcript} transcript
   * @param {{model: () => string, changed: () => void, failed: () => void}} acts
   *   `changed` when an answer begins or ends or a conversation is kept, `failed` after an error
   */
  constructor(transcript, acts) {
    this.transcript = transcript;
    this.acts = acts;
    addEventListener("pagehide", () => this.#running && save(this.#running.conversation));
  }

  get busy() {
    return this.#running !== null;
  }

  /** @param {Conversation} conversation */
  open(conversation) {
    const running = this.#running?.conversation;
    this.conversation = running?.id === conversation.id ? running : conversation;
    this.#show();
  }

  /**
   * The conversation of an id as it is in use, rather than as it was kept last.
   * @param {string} id
   */
  live(id) {
    return [this.#running?.conversation, this.conversation].find((one) => one?.id === id);
  }

  /**
   * Lets go of a conversation, whose answer is stopped and kept.
   * @param {string} id
   */
  async leave(id) {
    if (this.#running?.conversation.id !== id) return;
    this.stop();
    await this.#answering;
  }

  /**
   * Asks a question at the end of the conversation, or in place of a turn and all after it.
   * @param {Question} question
   * @param {number | null} at
   */
  async send(question, at) {
    const { turns } = this.conversation;
    await this.#replace([...turns.slice(0, at ?? turns.length), question]);
  }

  /**
   * Answers once more the question before a turn.
   * @param {number} at
   */
  async again(at) {
    await this.#replace(this.conversation.turns.slice(0, at));
  }

  /** @returns {boolean} whether there was an answer to stop */
  stop() {
    this.#running?.abort.abort();
    return this.busy;
  }

  /** @param {Turn[]} turns that stay; the last is a question, which is then answered */
  async #replace(turns) {
    if (this.busy) return notify("An answer is being written. Stop it first.");
    const { conversation } = this;
    const before = conversation.turns;
    const lost = before.some(
      (turn) => turn.role === "assistant" && turn.words && !turns.includes(turn),
    );
    const undo = () => this.#restore(conversation, before);
    dismiss();
    if (lost) notify("The earlier answer was replaced.", { label: "Undo", act: undo });
    this.#answering = this.#answer(conversation, turns);
    await this.#answering;
  }

  /**
   * @param {Conversation} conversation
   * @param {Turn[]} turns
   */
  async #restore(conversation, turns) {
    if (this.#running?.conversation === conversation) this.stop();
    conversation.turns = turns;
    this.#show();
    await this.#keep(conversation);
  }

  /**
   * @param {Conversation} conversation
   * @param {Turn[]} turns
   */
  async #answer(conversation, turns) {
    const running = { conversation, answer: newAnswer(), abort: new AbortController() };
    this.#running = running;
    conversation.turns = [...turns, running.answer];
    if (!conversation.named) conversation.title = titleOf(turns);
    this.#show();
    announce("Waiting for the answer");
    await this.#keep(conversation);
    await this.#stream(running, turns);
    this.#running = null;
    this.acts.changed();
    if (conversation === this.conversation) this.transcript.complete();
    announce(spoken(running.answer));
    await this.#keep(conversation);
    if (running.answer.error) this.acts.failed();
  }

  /**
   * @param {Running} running
   * @param {Turn[]} turns
   */
  async #stream(running, turns) {
    const { answer, abort } = running;
    try {
      const body = {
        model: this.acts.model(),
        messages: await messages(turns, systemWords()),
        ...sampling(),
      };
      for await (const step of ask(body, abort.signal)) this.#take(step, running);
      answer.finish ||= "stop";
    } catch (error) {
      answer.finish = abort.signal.aborted ? "stopped" : "failed";
      if (!abort.signal.aborted) answer.error = /** @type {Error} */ (error).message;
    }
  }

  /**
   * @param {import("./client.js").Step} step
   * @param {Running} running
   */
  #take(step, running) {
    const { answer, conversation } = running;
    const seen = conversation === this.conversation;
    if (step.kind === "words") {
      answer.words += step.words;
      if (seen) this.transcript.grow();
    } else if (step.kind === "finish") {
      answer.finish = step.finish === "length" ? "length" : "stop";
    } else if (step.kind === "figures") {
      running.usage = step.usage ?? running.usage;
      running.timings = step.timings ?? running.timings;
      answer.model = step.model ?? answer.model;
      answer.figures = figuresOf(running.usage, running.timings);
    } else if (seen && !answer.words) {
      this.#progress(step, conversation.turns);
    }
  }

  /**
   * @param {{kind: "accepted"} | {kind: "progress", done: number, total: number}} step
   * @param {Turn[]} turns
   */
  #progress(step, turns) {
    const question = /** @type {Question} */ (turns[turns.length - 2]);
    if (step.kind === "progress") {
      this.transcript.progress(`Reading ${step.done} of ${step.total} tokens`, step);
    } else {
      this.transcript.progress(question.pictures.length ? "Looking at the pictures" : "Reading");
    }
  }

  #show() {
    const { conversation } = this;
    const growing = this.#running?.conversation === conversation ? this.#running.answer : null;
    this.transcript.show(conversation.turns, growing);
    this.acts.changed();
  }

  /** @param {Conversation} conversation */
  async #keep(conversation) {
    conversation.updated = Date.now();
    try {
      await save(conversation);
    } catch {
      notify("The browser did not keep this conversation. Its storage is full or switched off.");
    }
    this.acts.changed();
  }
}

/** @param {Answer} answer */
function spoken({ words, finish, error }) {
  if (finish === "failed") return `The answer failed: ${error}`;
  return finish === "stopped" ? "Stopped" : `Answer: ${words}`;
}
