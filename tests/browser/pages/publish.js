// A user in a browser tab. The location's fragment says who and what, so a reload of the tab does all of it again.

import { now, show } from "./code.js";

const { Room, Track } = LivekitClient;
const want = JSON.parse(decodeURIComponent(location.hash.slice(1)));

// what makes speech clearer would take the beeps away
const AUDIO = { autoGainControl: false, echoCancellation: false, noiseSuppression: false, voiceIsolation: false };

const room = new Room({
  audioCaptureDefaults: AUDIO,
  // a busy machine is to send fewer pictures, not smaller ones
  publishDefaults: { videoCodec: want.codec, simulcast: want.simulcast, degradationPreference: "maintain-resolution" },
});
const local = room.localParticipant;
const events = [];

// Picture and beep by the wall clock, made in the page.
async function publishCanvas() {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: 640, height: 360 });
  const stream = canvas.captureStream(0);
  const [video] = stream.getVideoTracks();
  show(canvas, want.fps, want.number, false, () => video.requestFrame());

  const context = new AudioContext({ sampleRate: 48000 });
  const destination = context.createMediaStreamDestination();
  const second = context.createBuffer(1, 48000, 48000);
  const samples = second.getChannelData(0);
  for (let at = 0; at < samples.length; at++) {
    const beep = at < 4800 ? 0.4 * Math.sin((2 * Math.PI * want.hz * at) / 48000) : 0;
    samples[at] = beep + 0.01 * Math.sin((2 * Math.PI * 400 * at) / 48000);
  }
  const source = new AudioBufferSourceNode(context, { buffer: second, loop: true });
  source.connect(destination);
  await context.resume();
  const at = now();
  source.start(context.currentTime + Math.ceil(at + 0.1) - at);

  await local.publishTrack(video, { source: Track.Source.Camera });
  await local.publishTrack(destination.stream.getAudioTracks()[0], { source: Track.Source.Microphone });
}

const SOURCES = { camera: Track.Source.Camera, screen: Track.Source.ScreenShare };
const video = (source) => local.getTrackPublication(SOURCES[source])?.videoTrack;

// what has been sent of each layer, the smallest first
async function sent(source) {
  const report = (await video(source)?.getRTCStatsReport()) ?? new Map();
  const layers = [...report.values()].filter((entry) => entry.type === "outbound-rtp");
  layers.sort((a, b) => (a.frameWidth ?? 0) - (b.frameWidth ?? 0));
  return layers.map((layer) => ({
    codec: report.get(layer.codecId)?.mimeType ?? "",
    encoder: layer.encoderImplementation ?? "",
    frames: layer.framesSent ?? 0,
    width: layer.frameWidth ?? 0,
    height: layer.frameHeight ?? 0,
  }));
}

window.user = {
  events,
  enable: async (source, on) => {
    if (source === "camera") await local.setCameraEnabled(on);
    else if (source === "microphone") await local.setMicrophoneEnabled(on);
    else await local.setScreenShareEnabled(on, { resolution: { width: 640, height: 360, frameRate: 10 } });
    return now();
  },
  resize: async (width, height) => {
    await video("camera").restartTrack({ resolution: { width, height } });
    return now();
  },
  sent,
  // until so many more pictures are sent
  send: async (source, frames, seconds) => {
    const most = async () => Math.max(0, ...(await sent(source)).map((layer) => layer.frames));
    const wanted = (await most()) + frames;
    const deadline = now() + seconds;
    while ((await most()) < wanted) {
      if (now() > deadline) throw new Error(`not ${wanted} pictures sent: ${JSON.stringify(await sent(source))}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  },
  leave: () => room.disconnect(),
};

room.on("disconnected", (reason) => events.push(`disconnected ${reason}`));
await room.connect(want.url, want.token, { autoSubscribe: false });
if (want.fps) await publishCanvas();
else await local.enableCameraAndMicrophone();
window.user.published = now();
