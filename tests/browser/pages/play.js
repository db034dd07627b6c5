// Plays a playlist by hls.js and takes down what is shown and heard. Times are in seconds since the Unix epoch.

const COLUMNS = 20; // of the code's strip
const STRIP = { width: 320, height: 32 };
const STEADY_FRAMES = 12;
const MOST_KEPT = 10_000;

const video = document.querySelector("video");
const context = new OffscreenCanvas(STRIP.width, STRIP.height + 1).getContext("2d", { willReadFrequently: true });
const hls = new Hls();
const pictures = [];
const sounds = [];
const errors = [];
const loaded = { playlists: 0, segments: 0 };

const wall = (performanceTime) => (performance.timeOrigin + performanceTime) / 1000;
const base64 = (bytes) => {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
};

// The strip's luma, and whether the flash box is lit.
function look() {
  const { videoWidth: width, videoHeight: height } = video;
  const tall = (2 * width) / COLUMNS;
  const rest = height - tall;
  context.drawImage(video, 0, 0, width, tall, 0, 0, STRIP.width, STRIP.height);
  context.drawImage(video, width * 0.16, tall + rest * 0.4, width * 0.1, rest * 0.1, 0, STRIP.height, 1, 1);
  const { data } = context.getImageData(0, 0, STRIP.width, STRIP.height + 1);
  const luma = new Uint8Array(STRIP.width * (STRIP.height + 1));
  for (let at = 0; at < luma.length; at++) {
    luma[at] = 0.299 * data[4 * at] + 0.587 * data[4 * at + 1] + 0.114 * data[4 * at + 2];
  }
  const strip = STRIP.width * STRIP.height;
  return { strip: base64(luma.subarray(0, strip)), flash: luma[strip] > 137 };
}

function presented(_, { mediaTime, expectedDisplayTime, width, height }) {
  const date = hls.playingDate; // of the position, which is not quite the picture's
  if (pictures.length < MOST_KEPT) {
    pictures.push({
      ...look(),
      media: mediaTime,
      date: date ? date.getTime() / 1000 + mediaTime - video.currentTime : null,
      shown: wall(expectedDisplayTime),
      width,
      height,
    });
  }
  video.requestVideoFrameCallback(presented);
}

// Takes the sound down instead of playing it.
async function listen() {
  const audio = new AudioContext({ sampleRate: 48000 });
  await audio.audioWorklet.addModule("ear.js");
  const ear = new AudioWorkletNode(audio, "ear", { numberOfOutputs: 1 });
  ear.port.onmessage = ({ data: [start, samples] }) => {
    const { contextTime, performanceTime } = audio.getOutputTimestamp();
    const shorts = Int16Array.from(samples, (value) => Math.max(-1, Math.min(1, value)) * 32767);
    if (sounds.length < MOST_KEPT) {
      sounds.push({ heard: wall(performanceTime) + start - contextTime, samples: base64(new Uint8Array(shorts.buffer)) });
    }
  };
  audio.createMediaElementSource(video).connect(ear).connect(audio.destination);
  await audio.resume();
}

const frame = () => new Promise(requestAnimationFrame);
const once = (event) => new Promise((done) => video.addEventListener(event, done, { once: true }));

hls.on(Hls.Events.ERROR, (_, { type, details, fatal, error }) => {
  if (errors.length < MOST_KEPT) errors.push({ type, details, fatal, message: String(error?.message ?? "") });
});
hls.on(Hls.Events.LEVEL_LOADED, () => loaded.playlists++);
hls.on(Hls.Events.FRAG_BUFFERED, () => loaded.segments++);
video.requestVideoFrameCallback(presented);

window.player = {
  pictures,
  sounds,
  play: async (url, rate, hear) => {
    if (hear) await listen();
    hls.loadSource(url);
    hls.attachMedia(video);
    video.defaultPlaybackRate = video.playbackRate = rate;
    await video.play();
  },
  seek: async (position) => {
    video.pause();
    const seeked = once("seeked");
    const before = pictures.length;
    video.currentTime = position;
    await seeked;
    const deadline = performance.now() + 5000;
    const there = () => pictures.length > before && Math.abs(pictures.at(-1).media - position) <= 0.25;
    while (!there() && performance.now() < deadline) await frame();
    // what is drawn may be older than what was told of: it is right when it stays as it is
    let seen = look();
    for (let same = 0; same < STEADY_FRAMES && performance.now() < deadline; ) {
      await frame();
      const next = look();
      same = next.strip === seen.strip ? same + 1 : 0;
      seen = next;
    }
    return { ...pictures.at(-1), ...seen };
  },
  state: () => ({
    position: video.currentTime,
    duration: video.duration,
    ended: video.ended,
    audioBytes: video.webkitAudioDecodedByteCount,
    dropped: video.getVideoPlaybackQuality().droppedVideoFrames,
    ...loaded,
    errors,
  }),
};
