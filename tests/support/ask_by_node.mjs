// What OpenAI's client for Node gets from the server at URL about the picture on standard input.
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const url = process.argv.at(-1);
const picture = readFileSync(0, "utf8");
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
const parts = [
  { type: "text", text: "What is this?" },
  { type: "image_url", image_url: { url: picture } },
];
const question = { model: "any", max_tokens: 12, messages: [{ role: "user", content: parts }] };

const whole = await client.chat.completions.create(question);
const chunks = [];
const options = { stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create({ ...question, ...options })) {
  chunks.push(chunk);
}
const helper = client.chat.completions.stream(question);
const final = await helper.finalContent();
const refused = await client.chat.completions
  .create({ ...question, temperature: -1 })
  .catch(({ status, type, param, requestID }) => ({ status, type, param, requestID }));
const models = await client.models.list();

console.log(JSON.stringify({ whole, chunks, final, refused, models: models.data }));
