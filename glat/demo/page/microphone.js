// The microphone as WAV: no encoder, whose files the server would need a decoder for.

import { wav } from "/sound.js";

// Why there is none, as a sentence; null where there may be one.
export function missing() {
  if (!window.isSecureContext)
    return "To record, open this page on the machine that runs glat demo (http://localhost), or through ssh -L: browsers give a microphone to no other address without https.";
  return navigator.mediaDevices && window.AudioWorkletNode ? null : "This browser cannot record; drop a file instead.";
}

export class Microphone {
  // `report` is given the level, 0 to 1, of each piece, and the seconds so far; `ended`: the microphone went away.
  static async open(report, ended) {
    const made = new Microphone();
    made.stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    made.context = new AudioContext();
    await made.context.audioWorklet.addModule("/recorder.js");
    made.pieces = [];
    const source = made.context.createMediaStreamSource(made.stream);
    made.node = new AudioWorkletNode(made.context, "recorder", { numberOfOutputs: 0 });
    made.node.port.onmessage = ({ data }) => {
      const piece = new Int16Array(data.length);
      let level = 0;
      for (let i = 0; i < data.length; i++) {
        const value = Math.max(-1, Math.min(1, data[i]));
        piece[i] = Math.round(value * 32767);
        level = Math.max(level, Math.abs(value));
      }
      made.pieces.push(piece);
      report(level, made.seconds);
    };
    source.connect(made.node);
    made.stream.getAudioTracks()[0].addEventListener("ended", ended);
    return made;
  }

  get seconds() {
    return (this.pieces.length * 4096) / this.context.sampleRate;
  }

  // End, and return what was recorded as a WAV file.
  close() {
    const rate = this.context.sampleRate;
    this.node.port.onmessage = null;
    for (const track of this.stream.getTracks()) track.stop();
    this.context.close();
    const samples = new Int16Array(this.pieces.length * 4096);
    this.pieces.forEach((piece, i) => samples.set(piece, i * 4096));
    return wav(samples, rate);
  }
}
