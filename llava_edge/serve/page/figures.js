// How long an answer took, as one line.

import { element } from "./dom.js";

/** @typedef {import("./conversation.js").Figures} Figures */

/**
 * @param {any} usage of a chat completion
 * @param {any} timings as llama-server gives them
 * @returns {Figures}
 */
export function figuresOf(usage, timings) {
  return {
    tokens: timings?.predicted_n ?? usage?.completion_tokens ?? 0,
    speed: timings?.predicted_per_second ?? 0,
    prompt: usage?.prompt_tokens ?? 0,
    known: timings?.cache_n ?? usage?.prompt_tokens_details?.cached_tokens ?? 0,
    wait: (timings?.prompt_ms ?? 0) / 1000,
    used: usage?.total_tokens ?? 0,
  };
}

/**
 * @param {Figures} figures
 * @param {string} model whose answer it was
 */
export function figuresLine({ tokens, speed, prompt, known, wait }, model) {
  const parts = [`${count(tokens)} tokens`];
  if (speed) parts.push(`${digits(speed)} tokens/s`);
  if (wait) parts.push(`prompt ${digits(wait)} s`);
  const title = `${model}: ${count(prompt)} tokens of prompt, ${count(known)} known from before`;
  return element("span", { class: "figures", title }, parts.join(" · "));
}

/** @param {number} value */
export function count(value) {
  return value.toLocaleString("en");
}

/** @param {number} value */
function digits(value) {
  return value.toLocaleString("en", { maximumSignificantDigits: 2 });
}
