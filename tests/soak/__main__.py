"""Record a restless room for a long time on a whole embedded stack, and fail when a process of ours grows.

Three users come, go, mute and publish again; operator, recorder and uploader are the real ones. Every ten seconds the
memory, file descriptors and threads of the three are noted. Fails when after the first fifth of the time one of them
holds on to more than 5 % more than before, when the recording does not end well, or when its files lack what was
published. The last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from cloudrec_contract.events import EventType
from cloudrec_contract.naming import parse_single
from cloudrec_contract.resources import Phase
from cloudrec_local.playback.playlist import parse
from cloudrec_local.stack import Stack
from cloudrec_local.state import PARTS
from cloudrec_local.synthetic.plan import Kind, Plan, Step, UserPlan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.truth import Truth
from tests.e2e.task import Cluster, recording
from tests.soak.watch import Watched, find, growth

NAME = "soak"
SAMPLE_SECONDS = 10.0
RESTLESS_SECONDS = (4.0, 12.0)
SHORT_SECONDS = 6.0
"""A publication this short may be over before it was subscribed to."""
STRETCH_LOST_SECONDS = 1.5
"""What may be missing at the beginning of a publication and at an unmute: the server throttles keyframes."""
RECORDED_MIN = 0.98
"""Of the rest of a user's camera."""
USERS = ("ann", "ben", "cat")
PLAN = Plan(
    users=tuple(
        UserPlan(
            identity=user,
            number=number,
            width=320,
            height=180,
            fps=15,
            steps=(Step(do="join"), Step(do="publish")),
        )
        for number, user in enumerate(USERS, 1)
    )
)


class Restless:
    """Has one user at a time do something, so that nobody's state is ever in doubt."""

    def __init__(self, users: SyntheticUsers, seed: int) -> None:
        self._users = users
        self._random = random.Random(seed)
        self.done = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            user = self._random.choice(USERS)
            await getattr(self, self._random.choice(("mute", "republish", "rejoin", "screen")))(user)
            self.done += 1
            await self._pause()

    async def mute(self, user: str) -> None:
        kind: Kind = self._random.choice(("audio", "video"))
        await self._users.do(user, "mute", kind=kind)
        await self._pause()
        await self._users.do(user, "unmute", kind=kind)

    async def republish(self, user: str) -> None:
        await self._users.do(user, "unpublish", kind="video")
        await self._pause()
        await self._users.do(user, "publish", kind="video")

    async def rejoin(self, user: str) -> None:
        await self._users.do(user, "leave")
        await self._pause()
        await self._users.do(user, "join")
        await self._users.do(user, "publish")

    async def screen(self, user: str) -> None:
        await self._users.do(user, "publish", "aux")
        await self._pause()
        await self._users.do(user, "unpublish", "aux")

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.uniform(*RESTLESS_SECONDS))


async def watched(cluster: Cluster) -> dict[str, Watched]:
    """The processes of ours that run."""
    (pod,) = await cluster.pods(NAME)
    operators = ("-l", "app.kubernetes.io/component=operator")
    text = await cluster.run("get", "pods", "-n", "cloudrec-system", *operators, "-o", "json")
    (operator,) = json.loads(text)["items"]
    (container,) = operator["spec"]["containers"]
    marks = {
        "operator": f"#{operator['metadata']['uid']}/{container['name']}\0",
        "recorder": f"#{pod['metadata']['uid']}/recorder\0",
        "uploader": f"#{pod['metadata']['uid']}/uploader\0",
    }
    return {name: Watched.of(await asyncio.to_thread(find, mark)) for name, mark in marks.items()}


async def watch(processes: dict[str, Watched], seconds: float) -> None:
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < seconds:
        for name, process in processes.items():
            process.sample()
            if process.ended:
                raise RuntimeError(f"the {name} is not there any more")
        held = ", ".join(f"{name} {p.samples[-1].pss / 1024:.1f} MB" for name, p in processes.items())
        print(f"{passed:6.0f} s: {held}", file=sys.stderr, flush=True)
        await asyncio.sleep(min(SAMPLE_SECONDS, seconds / 20))


def published(truth: Truth, user: str, since: float, until: float) -> tuple[float, int]:
    """Seconds of a user's camera that were not muted, in this time, and in how many stretches."""
    total, stretches = 0.0, 0
    for track in truth.of(user, "main", "video"):
        begin, end = max(track.published, since), min(track.unpublished or until, until)
        if end - begin > SHORT_SECONDS:
            muted = [(max(mute.start, begin), min(mute.end or end, end)) for mute in track.muted]
            silent = [stop - start for start, stop in muted if stop > start]
            total += end - begin - sum(silent)
            stretches += 1 + len(silent)
    return total, stretches


def recorded(texts: dict[str, str], user: str) -> float:
    """Seconds of a user's camera in the playlists."""
    names = {name: parse_single(name) for name in texts}
    return sum(
        sum(entry.duration for entry in parse(texts[name]).entries)
        for name, whose in names.items()
        if (whose.user_id, whose.media, whose.kind) == (user, "main", "video")
    )


async def soak(seconds: float, seed: int) -> tuple[dict[str, object], list[str]]:
    """The figures and what is wrong."""
    faults: list[str] = []
    with TemporaryDirectory(prefix="cloudrec-soak-") as folder:
        stack = Stack(NAME, home=Path(folder) / "home", components=PARTS)
        stack.up(lambda line: print(line, file=sys.stderr, flush=True))
        try:
            cluster = Cluster.of(stack)
            async with SyntheticUsers(cluster.server, NAME, PLAN) as users:
                await users.published()
                await cluster.apply(Path(folder), recording(NAME, NAME))
                await cluster.phase(NAME, Phase.RECORDING, seconds=120)
                processes = await watched(cluster)
                began = time.time()
                restless = Restless(users, seed)
                churn = asyncio.create_task(restless.run())
                watching = asyncio.create_task(watch(processes, seconds))
                await asyncio.wait({churn, watching}, return_when=asyncio.FIRST_COMPLETED)
                churn.cancel()
                for ended in await asyncio.gather(churn, watching, return_exceptions=True):
                    if isinstance(ended, Exception):
                        raise ended
                final = await cluster.stop(NAME)
                stopped = time.time()
                truth = await users.stop()
            if final.phase is not Phase.COMPLETED:
                faults.append(f"the recording ended as {final.phase}")
            reports = [attempt.report for attempt in final.attempts if attempt.report is not None]
            errors = [e for report in reports for e in report.events if e.type is EventType.UPLOAD_ERROR]
            faults += [f"an upload failed: {error}" for error in errors]
            objects = await cluster.objects(NAME)
            names = await asyncio.to_thread(objects.names)
            texts = {n: (await asyncio.to_thread(objects.get, n)).decode() for n in names if n.endswith(".m3u8")}
        finally:
            stack.down()
    share = {}
    for user in USERS:
        total, stretches = published(truth, user, began, stopped)
        share[user] = round(recorded(texts, user) / max(total - STRETCH_LOST_SECONDS * stretches, 1.0), 4)
        if share[user] < RECORDED_MIN:
            faults.append(f"of {user}'s camera {share[user]:.1%} was recorded")
    figures = {name: growth(process.samples) for name, process in processes.items()}
    for name, found in figures.items():
        faults += found.faults(name)
    result: dict[str, object] = {
        "minutes": round((stopped - began) / 60, 1),
        "changes": restless.done,
        "objects": len(names),
        "recorded": share,
        **{name: found.as_json() for name, found in figures.items()},
    }
    return result, faults


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 1 when something grew or was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="of recording (30)")
    parser.add_argument("--seed", type=int, default=1, help="of what the users do (1)")
    options = parser.parse_args(arguments)
    result, faults = asyncio.run(soak(options.minutes * 60, options.seed))
    for fault in faults:
        print(fault, file=sys.stderr)
    print(json.dumps({"soak": result, "faults": faults}), flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
