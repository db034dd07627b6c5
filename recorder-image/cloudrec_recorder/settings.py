"""The recorder's settings: environment variables, each with its unit, default and motive; arguments win over them."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloudrec_contract.secret import Secret
from cloudrec_contract.spool import TASK

_DESCRIPTION = """\
Record one room: join it as a hidden robot and write each user's audio and video as HLS segments.

In a Pod it writes them into the spool and says in the spool's journal what was done; the uploader beside it gives the
task and takes the files away. With --out it needs no cluster: it writes playlists and segments into a folder.

  cloudrec-recorder --task examples/task.yaml --out recording"""

EPILOG = """\
environment (arguments win):
  CLOUDREC_LOG_LEVEL           DEBUG, INFO, WARNING or ERROR (default INFO)

  in a Pod
  CLOUDREC_SPOOL               folder shared with the uploader (default /spool)
  CLOUDREC_ROOM_TOKEN          file with the room token (default /run/cloudrec/room/token)
  CLOUDREC_TERMINATION_LOG     where the reason of the end is written (default /dev/termination-log)
  CLOUDREC_TASK_TIMEOUT        seconds to wait for the task file (default 900: the uploader checks the bucket first)
  CLOUDREC_DRAIN_TIMEOUT       seconds to wait at the end until all is uploaded (default 3000)
  CLOUDREC_METRICS_PORT        port of /metrics, for Prometheus (default 0: none)
  CLOUDREC_HAND_OVER_TIMEOUT   seconds to record on after SIGTERM (default 60; less than the Pod's grace period)

  with --out
  LIVEKIT_URL                  the LiveKit server, when the task file names none
  LIVEKIT_TOKEN                a room token; without one it is made from the next two
  LIVEKIT_API_KEY, LIVEKIT_API_SECRET   the server's API key

In a Pod, SIGTERM means that the Pod has to go: recording goes on until the task is stopped or a successor is in the
room; a second SIGTERM ends it at once. With --out, Ctrl-C and SIGTERM end the recording: files are closed and playlists
ended; a second one breaks it off.

The task file of --out is YAML or JSON; all but the room may be left out:
  room: demo                   a name, or a number from 1 to 4294967295; or {id: "7", type: String}
  livekit: {url: wss://livekit.example.com, roomName: demo}
  maxIdleSeconds: 30           end when nobody who may publish has been there for so long
  mergeAudioVideo: true        one playlist a user instead of two
  streams: {kind: AudioVideo, media: Both, subscribe: {video: {include: ["teacher.*$"]}}}
  segmentSeconds: 10
  taskId, sdkAppId, index, epoch, robotUserId   as in a Pod; seldom needed

exit codes: 0 ended; 1 failed (in a Pod the termination log says why); 2 bad arguments or, with --out, a bad task"""


@dataclass(frozen=True, slots=True)
class Standalone:
    """Without a cluster: `out` gets the files; `stop_after` in seconds, from when the robot is in the room."""

    out: Path
    url: str | None = None
    token: Secret | None = None
    token_file: Path | None = None
    stop_after: float | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Times in seconds."""

    spool: Path
    task: Path
    token_file: Path
    termination_log: Path
    task_timeout: float
    drain_timeout: float
    hand_over_timeout: float
    log_level: str
    metrics_port: int = 0
    standalone: Standalone | None = None


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings of a command line. Ends the process with code 2 and a message when something is wrong."""
    parser = _parser()
    given = parser.parse_args(arguments)
    env = environment.get

    def seconds(name: str, text: str | None, default: float, least: float = 0.001) -> float:
        try:
            value = default if text is None else float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= 86_400:
            parser.error(f"{name} must be a number of seconds {'above' if least else 'from'} 0 to 86400, not {text!r}")
        return value

    def env_seconds(name: str, default: float) -> float:
        return seconds(name, env(name), default)

    level = env("CLOUDREC_LOG_LEVEL", "INFO").upper()
    if level not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        parser.error(f"CLOUDREC_LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR, not {level!r}")
    port = env("CLOUDREC_METRICS_PORT", "0")
    metrics_port = int(port) if port.isdecimal() else -1
    if not 0 <= metrics_port <= 65535:
        parser.error(f"CLOUDREC_METRICS_PORT must be 0 to 65535, not {port!r}")
    standalone = None
    if given.out is not None:
        if given.task is None:
            parser.error("--out goes with --task FILE: what is to be recorded")
        if given.token is not None and given.token_file is not None:
            parser.error("give --token or --token-file, not both")
        standalone = Standalone(
            out=given.out,
            url=given.url,
            token=None if given.token is None else Secret(given.token),
            token_file=given.token_file,
            stop_after=None if given.stop_after is None else seconds("--stop-after", given.stop_after, 0.0),
        )
    else:
        for name in ("url", "token", "stop_after"):
            if getattr(given, name) is not None:
                parser.error(f"--{name.replace('_', '-')} goes with --out DIR")
    hand_over, source = given.hand_over_timeout, "--hand-over-timeout"
    if hand_over is None:
        hand_over, source = env("CLOUDREC_HAND_OVER_TIMEOUT"), "CLOUDREC_HAND_OVER_TIMEOUT"
    spool = given.spool or Path(env("CLOUDREC_SPOOL", "/spool"))
    return Settings(
        spool=spool,
        task=given.task or spool / TASK,
        token_file=given.token_file or Path(env("CLOUDREC_ROOM_TOKEN", "/run/cloudrec/room/token")),
        termination_log=Path(env("CLOUDREC_TERMINATION_LOG", "/dev/termination-log")),
        task_timeout=env_seconds("CLOUDREC_TASK_TIMEOUT", 900.0),
        drain_timeout=env_seconds("CLOUDREC_DRAIN_TIMEOUT", 3000.0),
        hand_over_timeout=seconds(source, hand_over, 60.0, least=0.0),
        log_level=level,
        metrics_port=metrics_port,
        standalone=standalone,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cloudrec-recorder",
        description=_DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--task", type=Path, metavar="FILE", help="task file (in a Pod: default <spool>/task.json)")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="file with the room token")
    pod = parser.add_argument_group("in a Pod")
    pod.add_argument("--spool", type=Path, metavar="DIR", help="folder shared with the uploader")
    pod.add_argument("--hand-over-timeout", metavar="SECONDS", help="how long to record on after SIGTERM")
    alone = parser.add_argument_group("without a cluster")
    alone.add_argument("--out", type=Path, metavar="DIR", help="write playlists and segments into this folder")
    alone.add_argument("--url", help="LiveKit server (ws, wss, http or https), instead of the task file's")
    alone.add_argument("--token", help="room token; others on this machine can see it here, so better LIVEKIT_TOKEN")
    alone.add_argument("--stop-after", metavar="SECONDS", help="end after so long in the room")
    return parser
