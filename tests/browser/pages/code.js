// The synthetic users' picture, drawn on a canvas: the strip of code at its top (synthetic/code.py) and the flash box.

const COLUMNS = 20;
const ROWS = 2;

function crc8(bytes) {
  let crc = 0xff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
  }
  return crc;
}

function pack(frame, user, screen) {
  const number = frame % 2 ** 24;
  const head = [number >> 16, (number >> 8) & 0xff, number & 0xff, (screen ? 0x80 : 0) | user];
  return [...head, crc8(head)];
}

function* bits(bytes) {
  for (const byte of bytes) for (let bit = 7; bit >= 0; bit--) yield (byte >> bit) & 1;
}

function draw(canvas, frame, fps, user, screen) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d", { alpha: false });
  const tall = (ROWS * width) / COLUMNS;
  const block = width / COLUMNS;
  context.fillStyle = screen ? "#365a70" : "#54485e";
  context.fillRect(0, tall, width, height - tall);
  let place = 0;
  for (const bit of bits(pack(frame, user, screen))) {
    context.fillStyle = bit ? "#fff" : "#000";
    context.fillRect((place % COLUMNS) * block, Math.floor(place / COLUMNS) * block, block, block);
    place++;
  }
  const rest = height - tall;
  context.fillStyle = frame % fps < fps / 10 ? "#fff" : "#1c1c1c";
  context.fillRect(width * 0.06, tall + rest * 0.2, width * 0.3, rest * 0.5);
  context.fillStyle = "#d6d6d6";
  context.fillRect((frame * 4) % (width - 16), height - 24, 16, 16);
}

export const now = () => (performance.timeOrigin + performance.now()) / 1000;

// Draws the picture of each period of 1/fps since the Unix epoch when it is due; `drawn` is told of each.
export function show(canvas, fps, user, screen, drawn = () => {}) {
  let last = 0;
  const next = () => {
    const number = Math.floor(now() * fps);
    if (number > last) {
      last = number;
      draw(canvas, number, fps, user, screen);
      drawn(number);
    }
    setTimeout(next, Math.max((number + 1) / fps - now(), 0) * 1000);
  };
  next();
}
