// Asks the server, and reads its answer: lines of JSON while it works, then the numbers. See glat/demo/answer.py.

const TYPES = { float32: Float32Array, int32: Int32Array, int16: Int16Array, uint8: Uint8Array };
const LOST = "glat demo does not answer: it has ended, or the connection is lost. Start it again and reload this page.";

export class Refused extends Error {} // its message is a sentence for the reader

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(LOST);
  }
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw new Refused(said.error ?? LOST);
  }
  return response;
}

export async function about() {
  return (await ask("/about")).json();
}

export async function table(asked) {
  return (await ask("/table", { method: "POST", body: JSON.stringify(asked) })).text();
}

// Hear a sound (a Blob). `report` is given each line that is not the result.
export async function hear(sound, name, signal, report) {
  const response = await ask(`/hear?name=${encodeURIComponent(name)}`, { method: "POST", body: sound, signal });
  const input = new Input(response.body.getReader());
  for (;;) {
    const message = JSON.parse(new TextDecoder().decode(await input.line()));
    if (message.error !== undefined) throw new Refused(message.error);
    if (message.result) return withParts(message.result, input);
    report(message);
  }
}

async function withParts(head, input) {
  for (const [name, type, size] of head.parts) {
    const Type = TYPES[type];
    head[name] = new Type((await input.bytes(size * Type.BYTES_PER_ELEMENT)).buffer);
  }
  return head;
}

class Input {
  constructor(reader) {
    this.reader = reader;
    this.held = new Uint8Array(0);
  }

  async more() {
    let read;
    try {
      read = await this.reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(LOST);
    }
    if (read.done) throw new Refused(LOST);
    return read.value;
  }

  async line() {
    let end;
    while ((end = this.held.indexOf(10)) < 0) {
      const more = await this.more();
      const joined = new Uint8Array(this.held.length + more.length);
      joined.set(this.held);
      joined.set(more, this.held.length);
      this.held = joined;
    }
    const line = this.held.subarray(0, end);
    this.held = this.held.subarray(end + 1);
    return line;
  }

  async bytes(count) {
    const all = new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      if (!this.held.length) this.held = await this.more();
      const part = this.held.subarray(0, count - filled);
      all.set(part, filled);
      filled += part.length;
      this.held = this.held.subarray(part.length);
    }
    return all;
  }
}
