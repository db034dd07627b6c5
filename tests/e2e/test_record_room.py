"""One recording of a lively room, from kubectl to the files in the bucket, judged by what is in them.

Three users publish a picture whose code tells its number, with a flash and a beep at each whole second. Meanwhile one
mutes, shares a screen, comes late, leaves and returns.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from cloudrec_contract.events import EventType
from cloudrec_contract.resources import CloudRecordingStatus, Phase
from cloudrec_local.fetch import download
from cloudrec_local.playback.decode import Recording
from cloudrec_local.receiver.arrivals import Arrival
from cloudrec_local.stack import Stack
from cloudrec_local.synthetic.plan import Plan, Step, UserPlan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.truth import Truth
from tests.analysis import content, structure
from tests.analysis.ffprobe import ffprobe_warnings
from tests.analysis.files import Whose, one, read_folder
from tests.e2e.task import Cluster, recording

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.asyncio(loop_scope="module")]

NAME = "lively"
PLAN = Plan(
    users=(
        UserPlan(
            identity="ann",
            number=1,
            steps=(
                Step(do="join"),
                Step(do="publish"),
                Step(at=11, do="mute", kind="audio"),
                Step(at=14, do="unmute", kind="audio"),
                Step(at=16, do="publish", media="aux"),
                Step(at=24, do="unpublish", media="aux"),
            ),
        ),
        UserPlan(
            identity="ben/zoë",
            number=2,
            steps=(
                Step(do="join"),
                Step(do="publish"),
                Step(at=15, do="mute", kind="video"),
                Step(at=19, do="unmute", kind="video"),
            ),
        ),
        UserPlan(
            identity="cat",
            number=3,
            steps=(
                Step(at=5, do="join"),
                Step(at=5, do="publish"),
                Step(at=16, do="leave"),
                Step(at=20, do="join"),
                Step(at=20, do="publish"),
            ),
        ),
    ),
    seconds=34,
)
TRACKS = {
    Whose("ann", "main", "audio", 0),
    Whose("ann", "main", "video", 0),
    Whose("ann", "aux", "video", 0),
    Whose("ben/zoë", "main", "audio", 0),
    Whose("ben/zoë", "main", "video", 0),
    Whose("cat", "main", "audio", 0),
    Whose("cat", "main", "video", 0),
}
CAMERAS = ("ann", "ben/zoë", "cat")


@dataclass(frozen=True)
class Process:
    """What a container's processes had at hand: environment, command lines, open files, and all of its volumes."""

    environ: dict[str, str]
    command: str
    open_files: list[str]
    files: dict[str, bytes]

    @classmethod
    def of(cls, pod: dict[str, Any], container: str) -> Process:
        """Look at a running container of the stack's node."""
        mark = f"#{pod['metadata']['uid']}/{container}\0".encode()
        (folder,) = (path for path in Path("/proc").glob("[0-9]*") if mark in _read(path / "environ") + b"\0")
        environ = dict(
            entry.split("=", 1) for entry in (folder / "environ").read_bytes().decode().split("\0") if "=" in entry
        )
        (spec,) = (found for found in pod["spec"]["containers"] if found["name"] == container)
        volumes = Path(environ["CLOUDREC_SPOOL"]).parent  # on the node, a folder for each
        folders = [volumes / mount["name"] for mount in spec["volumeMounts"]]
        assert all(folder.is_dir() for folder in folders)
        return cls(
            environ,
            (folder / "cmdline").read_bytes().decode(),
            [str(path.readlink()) for path in (folder / "fd").iterdir()],
            {
                str(path.relative_to(volumes)): _read(path)
                for top in folders
                for path in top.rglob("*")
                if path.is_file()
            },
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone, or of another user
        return b""


@dataclass(frozen=True)
class Made:
    """What came of it."""

    truth: Truth
    files: dict[Whose, Recording]
    names: list[str]
    folder: Path
    final: CloudRecordingStatus
    callbacks: list[Arrival]
    while_recording: list[dict[str, Any]]
    process: Process
    told: str

    def video(self, user: str) -> Recording:
        return one(self.files, user, "video")

    def audio(self, user: str) -> Recording:
        return one(self.files, user, "audio")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("lively")
    cluster = Cluster.of(stack)
    await cluster.apply(folder, recording(NAME, "lively room"))
    await cluster.phase(NAME, Phase.IDLE)
    async with SyntheticUsers(cluster.server, "lively room", PLAN) as users:
        await users.published()
        await cluster.phase(NAME, Phase.RECORDING)
        pods = await cluster.pods(NAME)
        process = await asyncio.to_thread(Process.of, pods[0], "recorder")
        truth = await users.finished(timeout=90)
    told = await cluster.run("get", "crec,events,pods", "-o", "yaml")
    logs = [await cluster.run("logs", pods[0]["metadata"]["name"], "-c", name) for name in ("recorder", "uploader")]
    final = await cluster.stop(NAME)
    callbacks = await cluster.callbacks(NAME)
    objects = await cluster.objects(NAME)
    files = folder / "files"
    names = await asyncio.to_thread(download, objects, files, players=False)
    decoded = await asyncio.to_thread(read_folder, files)
    operator = await cluster.run("logs", "-n", "cloudrec-system", "deployment/cloudrec-operator", "--tail=-1")
    assert NAME in operator
    node = _read(stack.status().logs / "node-agent.log").decode()
    return Made(truth, decoded, names, files, final, callbacks, pods, process, told + "".join([*logs, operator, node]))


async def test_it_completes_with_a_playlist_for_each_track(made: Made) -> None:
    assert made.final.phase is Phase.COMPLETED
    assert set(made.files) == TRACKS
    assert made.final.files == len(TRACKS)
    assert sum(name.endswith(".ts") for name in made.names) >= len(TRACKS)
    assert all(recording.playlist.ended for recording in made.files.values())


@pytest.mark.parametrize("user", CAMERAS)
async def test_99_of_100_frames_are_there_once(made: Made, user: str) -> None:
    frames = content.frame_ratio(made.truth, made.video(user), user)
    assert frames.expected > 200
    assert frames.ratio >= 0.99, frames.missing
    assert not frames.duplicated
    assert not frames.unreadable
    assert not frames.foreign


async def test_the_screen_is_recorded_as_aux(made: Made) -> None:
    frames = content.frame_ratio(made.truth, one(made.files, "ann", "video", "aux"), "ann", "aux")
    assert frames.expected > 60
    assert frames.ratio >= 0.99, frames.missing
    assert not frames.foreign


@pytest.mark.parametrize("user", CAMERAS)
async def test_sound_and_picture_are_in_step_across_their_files(made: Made, user: str) -> None:
    offsets = content.av_offset(made.truth, made.video(user), made.audio(user), user)
    assert len(offsets) >= 12
    assert content.percentile(offsets, 0.95) <= 60, offsets


@pytest.mark.parametrize(("a", "b"), [("ann", "ben/zoë"), ("ann", "cat")])
async def test_two_users_pictures_are_in_step(made: Made, a: str, b: str) -> None:
    offsets = content.users_offset(made.truth, made.video(a), a, made.video(b), b)
    assert len(offsets) > 100
    assert content.percentile(offsets, 0.95) <= 20, offsets


async def test_segments_join_without_gap_or_overlap(made: Made) -> None:
    for whose, file in made.files.items():
        tolerance = 1.0 if whose.kind == "audio" else 40.0  # a picture's own pace wavers
        # A camera that is off for less than 5 s breaks no segment; one may end there, and its EXTINF counts that time.
        breaks = {joint.before: joint.gap for joint in structure.broken_joints(file, tolerance)}
        if breaks:
            assert (whose.user, whose.kind) == ("ben/zoë", "video")
            assert len(breaks) == 1
            assert 0 < max(breaks.values()) < 5000
        assert max(map(abs, structure.date_errors(file))) <= 1.5, whose
        errors = [
            error - breaks.get(segment.name, 0.0)
            for segment, error in zip(file.segments, structure.duration_errors(file), strict=True)
        ]
        assert max(map(abs, errors[:-1]), default=0.0) <= 80, whose
    assert structure.epoch_spread(made.files.values()) <= 2


async def test_a_return_goes_on_in_the_same_playlist_behind_a_discontinuity(made: Made) -> None:
    for file in (made.video("cat"), made.audio("cat")):
        assert any(segment.discontinuity for segment in file.segments)
        longest = max(content.gaps(file, 1.0), key=lambda gap: gap.seconds)
        assert 3.0 <= longest.seconds <= 7.0


async def test_a_mute_is_silence_in_the_file(made: Made) -> None:
    silences = content.silent(made.audio("ann"), 0.5) + content.gaps(made.audio("ann"), 0.5)
    muted = made.truth.of("ann", "main", "audio")[0].muted[0]
    assert muted.end is not None
    covered = sum(max(0.0, min(gap.end, muted.end) - max(gap.start, muted.start)) for gap in silences)
    assert covered >= 0.7 * (muted.end - muted.start)


async def test_begin_time_stamps_are_true_and_the_same_everywhere(made: Made) -> None:
    report = made.final.attempts[0].report
    assert report is not None
    in_events = {
        (str(e.args["UserId"]), str(e.args["TrackType"]), int(e.args["BeginTimeStamp"]))
        for e in report.events
        if e.type == EventType.FILE_SLICE
    }
    in_status = {(f.user_id, f.media, f.kind): f.begin_time_stamp for f in report.files}
    assert len(in_status) == len(TRACKS)
    for whose, file in made.files.items():
        begin = in_status[whose.user, whose.media, whose.kind]
        assert round(file.playlist.start * 1000) == begin, whose
        assert (whose.user, whose.kind, begin) in in_events
        error = content.begin_error(made.truth, file, whose.user, whose.media) if whose.media == "main" else 0.0
        assert abs(error) <= 300, whose


async def test_ffprobe_has_nothing_to_say(made: Made) -> None:
    playlists = sorted(made.folder.glob("*.m3u8"))
    assert len(playlists) == len(TRACKS)
    warnings = {path.name: ffprobe_warnings(path) for path in playlists}
    assert not {name: lines for name, lines in warnings.items() if lines}


async def test_events_are_facts_in_order(made: Made) -> None:
    report = made.final.attempts[0].report
    assert report is not None
    assert [event.seq for event in report.events] == list(range(1, len(report.events) + 1))
    kinds = [event.type for event in report.events]
    assert set(kinds[:2]) == {EventType.UPLOAD_START, EventType.RECORDER_START}
    assert kinds[-1] == EventType.RECORDER_STOP
    assert kinds.count(EventType.FILE_SLICE) == kinds.count(EventType.FILE_INFO) == len(TRACKS)
    assert report.events[-1].args == {"LeaveCode": 0}
    (uploaded,) = made.final.operator_events  # the operator's to say, of all attempts
    assert (uploaded.type, uploaded.args) == (EventType.UPLOAD_STOP, {"Status": 0})
    first_slice, first_info = kinds.index(EventType.FILE_SLICE), kinds.index(EventType.FILE_INFO)
    assert first_slice < first_info


async def test_the_apps_server_is_told_all_of_it_signed_and_in_order(made: Made) -> None:
    arrived = made.callbacks
    assert {told.signature for told in arrived} == {"good"}
    places = [told.sequence or 0 for told in arrived]
    assert places == sorted(set(places))
    kinds = [told.type for told in arrived]
    assert sorted(kinds[:2]) == [EventType.RECORDER_START, EventType.UPLOAD_START]
    assert kinds[-2:] == [EventType.RECORDER_STOP, EventType.UPLOAD_STOP]
    assert set(kinds[2:-2]) == {EventType.FILE_SLICE, EventType.FILE_INFO}
    for told in arrived:
        body = told.body
        assert (body["EventGroupId"], told.task) == (3, made.final.task_id)
        assert (told.info["RoomId"], told.info["UserId"]) == ("lively room", "cloudrec")
        assert told.info["EventMsTs"] // 1000 == int(told.info["EventTs"])
        assert told.info["EventMsTs"] <= body["CallbackTs"] <= told.at + 1000
    payloads: dict[int, list[dict[str, Any]]] = {}
    for told in arrived:
        payloads.setdefault(told.type, []).append(told.payload)
    assert payloads[EventType.RECORDER_START] == [{"Status": 0}]
    assert payloads[EventType.UPLOAD_START] == [{"Status": 0}]
    assert payloads[EventType.RECORDER_STOP] == [{"LeaveCode": 0}]
    assert payloads[EventType.UPLOAD_STOP] == [{"Status": 0}]
    playlists = {name for name in made.names if name.endswith(".m3u8")}
    assert {p["FileList"] for p in payloads[EventType.FILE_INFO]} == playlists
    assert len(payloads[EventType.FILE_INFO]) == len(TRACKS)
    slices = {(p["UserId"], p["TrackType"], p["BeginTimeStamp"]) for p in payloads[EventType.FILE_SLICE]}
    report = made.final.attempts[0].report
    assert report is not None
    assert slices == {(file.user_id, file.kind, file.begin_time_stamp) for file in report.files}


async def test_the_recorder_holds_no_api_token_and_no_bucket_keys(made: Made, stack: Stack) -> None:
    (pod,) = made.while_recording
    (recorder,) = pod["spec"]["containers"]
    (uploader,) = pod["spec"]["initContainers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounted = [volumes[mount["name"]] for mount in recorder["volumeMounts"]]
    assert not any("projected" in volume for volume in mounted)
    secrets = [volume["secret"]["secretName"] for volume in mounted if "secret" in volume]
    assert len(secrets) == 1
    assert "bucket" not in secrets
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not any("secretKeyRef" in str(entry) for entry in recorder["env"])
    assert any("projected" in volumes[mount["name"]] for mount in uploader["volumeMounts"])


async def test_the_recorders_process_has_the_room_token_alone(made: Made, stack: Stack) -> None:
    status = stack.status()
    assert status.livekit is not None
    assert status.bucket is not None
    process = made.process
    tokens = [name for name, content in process.files.items() if content.startswith(b"eyJ")]
    assert len({name.rpartition("/")[2] for name in tokens}) == 1
    at_hand = "\0".join([*process.environ, *process.environ.values(), process.command, *process.open_files])
    at_hand += "\0".join(process.files[name].decode("latin-1") for name in process.files if name not in tokens)
    for secret in (status.livekit.api_secret, status.livekit.api_key, status.bucket.secret_key, "eyJ"):
        assert secret not in at_hand
    assert "spool/task.json" in process.files
    assert not {"KUBECONFIG", "CLOUDREC_SERVICEACCOUNT", "CLOUDREC_BUCKET_CREDENTIALS"} & set(process.environ)
    assert not any(name in at_hand for name in ("serviceaccount", "accessKey", "secretKey"))


async def test_no_secret_is_told(made: Made, stack: Stack) -> None:
    status = stack.status()
    assert status.livekit is not None
    assert status.bucket is not None
    for secret in (status.livekit.api_secret, status.bucket.secret_key):
        assert secret not in made.told
    assert "eyJ" not in made.told  # the beginning of every JWT
