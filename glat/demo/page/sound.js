// Samples as WAV, and one player for all of them.

// int16 samples, a part of an array, as a WAV file: a Blob.
export function wav(samples, rate) {
  const head = new DataView(new ArrayBuffer(44));
  const write = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  write(0, "RIFF");
  head.setUint32(4, 36 + samples.byteLength, true);
  write(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true); // PCM
  head.setUint16(22, 1, true); // one channel
  head.setUint32(24, rate, true);
  head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true);
  head.setUint16(34, 16, true);
  write(36, "data");
  head.setUint32(40, samples.byteLength, true);
  return new Blob([head, samples], { type: "audio/wav" });
}

// Plays stretches of what the model heard. `changed` is called when it starts, moves or ends; `key` names the stretch.
export class Player {
  constructor(changed) {
    this.audio = new Audio();
    this.changed = changed;
    this.key = null;
    this.at = 0; // seconds of the recording, where all of it is played from
    for (const event of ["play", "pause", "ended", "seeked"]) this.audio.addEventListener(event, () => this.moved());
    this.audio.addEventListener("ended", () => {
      if (this.key === "all") this.at = 0;
      this.key = null;
      this.moved();
    });
  }

  load(answer) {
    this.stop();
    this.answer = answer;
    this.at = this.from = 0;
    this.changed();
  }

  get time() {
    return this.key === null ? this.at : this.from + this.audio.currentTime;
  }

  // Start a stretch, or stop it where it plays.
  toggle(key, from = 0, to = Infinity, begin = from) {
    const same = this.key === key;
    if (this.key === "all") this.at = this.time;
    this.stop();
    if (same) return this.changed();
    const { samples, rate } = this.answer;
    const first = Math.round(from * rate);
    this.url = URL.createObjectURL(wav(samples.subarray(first, Math.min(samples.length, Math.round(to * rate))), rate));
    [this.key, this.from, this.audio.src] = [key, from, this.url];
    this.audio.currentTime = begin - from;
    this.audio.play().catch(() => this.stop());
    this.follow();
  }

  // Stop what plays, or play all from where it was stopped.
  toggleAll() {
    const end = this.answer.seconds - 0.05;
    this.toggle(this.key ?? "all", 0, Infinity, this.at < end ? this.at : 0);
  }

  seek(seconds) {
    if (this.key === "all") this.audio.currentTime = seconds;
    else {
      this.stop();
      this.at = seconds;
    }
    this.changed();
  }

  stop() {
    this.audio.pause();
    if (this.url) URL.revokeObjectURL(this.url);
    this.key = this.url = null;
    this.audio.removeAttribute("src");
  }

  moved() {
    if (this.answer) this.changed();
  }

  follow() {
    this.changed();
    if (this.key !== null) requestAnimationFrame(() => this.follow());
  }
}
