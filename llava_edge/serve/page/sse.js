// Server-sent events (WHATWG HTML, 9.2.6) whose data are JSON, as completions stream them.

/**
 * @param {ReadableStream<Uint8Array> | null} body
 * @returns {AsyncGenerator<any>} the data of each event until `[DONE]`
 */
export async function* events(body) {
  if (!body) return;
  for await (const line of lines(body)) {
    const data = /^data: ?(.*)$/.exec(line)?.[1]; // comments keep the connection alive
    if (data === "[DONE]") return;
    if (data) yield JSON.parse(data);
  }
  throw new Error("The stream ended without [DONE].");
}

/** @param {ReadableStream<Uint8Array>} body */
async function* lines(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const complete = (rest + decoder.decode(value, { stream: true })).split(/\r?\n/);
      rest = complete.pop() ?? "";
      yield* complete;
    }
  } finally {
    reader.cancel().catch(() => {}); // whoever stops reading early lets the connection go
  }
}
