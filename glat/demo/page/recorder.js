// Runs beside the page, on the browser's thread for sound: hands on what the microphone gives, 4096 samples at a time.

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.held = new Float32Array(4096);
    this.count = 0;
  }

  process([channels]) {
    if (!channels.length) return true;
    for (let i = 0; i < channels[0].length; i++) {
      let sum = 0;
      for (const channel of channels) sum += channel[i];
      this.held[this.count++] = sum / channels.length;
      if (this.count === this.held.length) {
        this.port.postMessage(this.held.slice());
        this.count = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
