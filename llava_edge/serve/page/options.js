// How answers are chosen: what the user set, kept in this browser; all else is left to the server.

import { fill } from "./dialogs.js";
import { byId } from "./dom.js";

const PLACE = "llava-edge options";
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];

/** @returns {Record<string, string>} by the names of the form's fields, as typed */
function kept() {
  try {
    return JSON.parse(localStorage.getItem(PLACE) ?? "{}");
  } catch {
    return {};
  }
}

/** @returns {string} the words of the system turn; "" for none */
export function systemWords() {
  return kept().system?.trim() ?? "";
}

/** @returns {Record<string, number>} fields of a chat completion */
export function sampling() {
  const typed = kept();
  return Object.fromEntries(
    NUMBERS.filter((name) => typed[name]).map((name) => [name, Number(typed[name])]),
  );
}

/** Lets the user look at and change the options. */
export async function changeOptions() {
  const form = byId("options").querySelector("form");
  const typed = kept();
  const fields = [...form.elements].filter((field) => field.name);
  for (const field of fields) field.value = typed[field.name] ?? "";
  form.querySelector("[data-action=reset]").onclick = () =>
    fields.forEach((field) => (field.value = ""));
  const filled = await fill("options");
  if (filled) localStorage.setItem(PLACE, JSON.stringify(Object.fromEntries(filled)));
}
