// Passes on what it hears, in blocks of 4096 samples: [context time of the first, samples].

class Ear extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Float32Array(4096);
    this.filled = 0;
    this.start = 0;
  }

  process([[samples]]) {
    if (!this.filled) this.start = currentTime;
    if (samples) this.block.set(samples, this.filled);
    else this.block.fill(0, this.filled, this.filled + 128);
    this.filled += 128;
    if (this.filled === this.block.length) {
      this.port.postMessage([this.start, this.block.slice()]);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("ear", Ear);
