"""Every secret of a stack is a canary: it is looked for wherever somebody may look who may not see it.

A stack of its own, whose programs say as much as they can (DEBUG, metrics): a recording that is well, with a backup
store, callbacks and a header of them that is secret; one through the gateway; and recordings whose keys are refused by
LiveKit, the bucket, the backup store, and VOD's bucket; and calls with wrong signatures.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio

from cloudrec_contract.resources import CloudRecordingStatus, Phase
from cloudrec_local.stack import Stack
from cloudrec_local.state import PARTS, free_ports
from cloudrec_local.status import environment
from cloudrec_local.synthetic.plan import standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from tests.e2e.task import NAMESPACE, Cluster, named, recording
from tests.e2e.test_ends import app, secret
from tests.e2e.test_gateway import client, code_of, storage

pytestmark = [pytest.mark.media, pytest.mark.cluster, pytest.mark.asyncio(loop_scope="module")]

JWT = "eyJhbGciOi"
"""The beginning of every token: `{"alg":`."""
PUBLIC = ("accessKey", "apiKey", "secretId", "ca.crt", "namespace")
"""Of Secrets, what is no secret: it says whose key it is."""
FOREIGN = "foreign "
THIRD_PARTY = ("livekit", "bucket", "weed", "etcd", "kube-")
"""Logs of servers that are not ours."""


def canary(what: str) -> str:
    return f"canary-{what}-{secrets.token_hex(12)}"


@dataclass
class Places:
    """Texts by where they were found."""

    texts: dict[str, str] = field(default_factory=dict)

    def add(self, where: str, text: str) -> None:
        self.texts[where] = text

    def finds(self, canaries: Mapping[str, str]) -> list[str]:
        """Whose secret is told where, in any of the forms that it is written in."""
        forms = {
            (name, form)
            for name, value in canaries.items()
            for form in (value, base64.b64encode(value.encode()).decode().rstrip("="), quote(value, safe=""))
        }
        return sorted(
            {f"{name} is in {where}" for where, text in self.texts.items() for name, form in forms if form in text}
        )


@dataclass(frozen=True)
class Seen:
    canaries: dict[str, str]
    places: Places
    statuses: dict[str, CloudRecordingStatus]


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack of this module's own."""
    stack = Stack("canary", home=tmp_path_factory.mktemp("canary") / "home", components=PARTS)
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


async def speak_up(cluster: Cluster) -> dict[str, str]:
    """Have operator and gateway say all they can; where their metrics are."""
    ports = free_ports(["operator", "recorder"])
    system = ("-n", "cloudrec-system")
    await cluster.run(
        *("set", "env", "deployment/cloudrec-operator", *system, "CLOUDREC_LOG_LEVEL=DEBUG"),
        *("CLOUDREC_METRICS_HOST=127.0.0.1", f"CLOUDREC_METRICS_PORT={ports['operator']}"),
        f"CLOUDREC_RECORDER_METRICS_PORT={ports['recorder']}",
    )
    await cluster.run("set", "env", "deployment/cloudrec-gateway", *system, "CLOUDREC_LOG_LEVEL=DEBUG")
    for name in ("operator", "gateway"):
        await cluster.run("rollout", "status", f"deployment/cloudrec-{name}", *system, "--timeout=60s")
    return {name: f"http://127.0.0.1:{port}/metrics" for name, port in ports.items()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(loud: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    folder, cluster, places = tmp_path_factory.mktemp("manifests"), Cluster.of(loud), Places()
    metrics = await speak_up(cluster)
    own = {
        name: canary(name) for name in ("livekit", "bucket", "backup", "vod", "header", "signature", "sig", "inline")
    }
    await furnish(cluster, folder, own)
    env = environment(loud.status())
    metrics["gateway"] = f"http://{env['CLOUDREC_ENDPOINT']}/metrics"
    await cluster.apply(folder, with_backup(recording("well", "canaries", appRef={"name": "secretive"})))
    await cluster.phase("well", Phase.IDLE)  # it has the port of the recorders' metrics now
    tasks = await through_the_gateway(env, own)
    for made in refused_ones():
        await cluster.apply(folder, made)
    async with SyntheticUsers(cluster.server, "canaries", standard_plan(1)) as users:
        await users.published()
        for name in ("well", "to-vod", await named(cluster, tasks[0])):
            await cluster.phase(name, Phase.RECORDING)
        await asyncio.sleep(8)  # some segments
        processes(places, loud, "while it recorded")
        files(places, loud, "while it recorded")
        async with aiohttp.ClientSession() as session:
            for name, url in metrics.items():
                async with session.get(url) as answer:
                    assert answer.status == 200
                    places.add(f"metrics of the {name}", await answer.text())
        await wish(cluster, "to-vod", "Stopped")
        await finisher_at_work(loud)
        processes(places, loud, "while it finished")
        files(places, loud, "while it finished")  # its Pod goes with its end
        await cluster.until("to-vod", finisher_has_spoken)
        for task in tasks[:1]:
            await cluster.stop(await named(cluster, task))
        await cluster.stop("well")
    statuses = {"well": await cluster.status("well")}
    for name in ("no-livekit", "no-bucket", await named(cluster, tasks[1])):
        await ended(cluster, name)
        statuses[name] = await cluster.status(name)
    files(places, loud, "at the end")
    await resources(places, cluster)
    await objects(places, cluster, ("well", await named(cluster, tasks[0])))
    canaries = {**own, **known(loud), **await mounted(cluster)}
    yield Seen(canaries, places, statuses)


async def furnish(cluster: Cluster, folder: Path, own: Mapping[str, str]) -> None:
    """Apps and Secrets with the canaries in them."""
    demo = json.loads(await cluster.run("get", "rapp", "demo", "-o", "json"))["spec"]
    header = {"name": "X-Canary", "secretRef": {"name": "canary-header"}, "key": "value"}
    made: list[dict[str, Any]] = [
        secret("canary-livekit", apiKey="nobody", apiSecret=own["livekit"]),
        secret("canary-bucket", accessKey="AKbucket", secretKey=own["bucket"]),
        secret("canary-backup", accessKey="AKbackup", secretKey=own["backup"]),
        secret("canary-vod", accessKey="AKvod", secretKey=own["vod"]),
        secret("canary-header", value=own["header"]),
        app("refusing", cluster.server.url, "canary-livekit"),
        app("secretive", cluster.server.url, "livekit"),
        app("vod", cluster.server.url, "livekit"),
    ]
    for one in made[-3:]:
        one["spec"]["storage"] = demo["storage"]
    made[-2]["spec"]["callback"] = {**demo["callback"], "headers": [header]}
    vod = {**demo["vod"]["bucket"], "credentialsSecretRef": {"name": "canary-vod"}}
    made[-1]["spec"]["vod"] = {"spool": demo["vod"]["spool"], "bucket": vod}
    for one in made:
        await cluster.apply(folder, one)


def with_backup(made: dict[str, Any]) -> dict[str, Any]:
    bucket = made["spec"]["storage"]["bucket"]
    bucket["backup"] = {**bucket, "prefix": ["backup"], "credentialsSecretRef": {"name": "canary-backup"}}
    return made


def refused_ones() -> list[dict[str, Any]]:
    no_livekit = recording("no-livekit", "r", appRef={"name": "refusing"}, robot={"userId": "a"})
    no_bucket = recording("no-bucket", "r", robot={"userId": "b"})
    no_bucket["spec"]["storage"]["bucket"]["credentialsSecretRef"]["name"] = "canary-bucket"
    to_vod = recording("to-vod", "canaries", appRef={"name": "vod"}, robot={"userId": "c"}, storage={"vod": {}})
    return [no_livekit, no_bucket, to_vod]


async def through_the_gateway(env: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """A task that is well, one whose keys the bucket refuses; and calls that are refused for their signature."""
    sdk = client(env)
    well = await asyncio.to_thread(sdk.create, "canaries", "gateway-1", own["sig"], storage(env))
    keyless = {**storage(env), "SecretKey": own["inline"], "AccessKey": "AKinline"}
    refused = await asyncio.to_thread(sdk.create, "canaries", "gateway-2", own["sig"], keyless)
    wrong = client({**env, "CLOUDREC_SECRET_KEY": own["signature"]})
    code = await asyncio.to_thread(code_of, lambda: wrong.create("r", "u", own["sig"], storage(env)))
    assert code.startswith("AuthFailure")
    bad = {**storage(env), "Vendor": 99, "SecretKey": own["inline"]}
    await asyncio.to_thread(code_of, lambda: sdk.create("r", "u", own["sig"], bad))
    return [well, refused]


async def wish(cluster: Cluster, name: str, state: str) -> None:
    patch = json.dumps({"spec": {"desiredState": state}})
    await cluster.run("patch", "crec", name, "--type", "merge", "-p", patch)


async def ended(cluster: Cluster, name: str) -> None:
    status = await cluster.status(name)
    if status.phase is None or not status.phase.terminal:
        await cluster.phase(name, Phase.FAILED, Phase.COMPLETED)


async def finisher_at_work(stack: Stack, seconds: float = 60) -> None:
    """Until its container is there."""
    deadline = time.monotonic() + seconds
    while not any(path.match("containers/finisher") for path in stack.home.node.rglob("finisher")):
        assert time.monotonic() < deadline, "there is no finisher"
        await asyncio.sleep(0.05)


def finisher_has_spoken(status: CloudRecordingStatus) -> bool:
    """VOD's bucket has refused its keys."""
    finishers = [attempt for attempt in status.attempts if attempt.role == "Finish"]
    return any(attempt.report and attempt.report.conditions for attempt in finishers)


# --- where it is looked ---------------------------------------------------------------------------------------------


def processes(places: Places, stack: Stack, when: str) -> None:
    """Arguments of every process of the machine, and the environment of the stack's containers."""
    for path in Path("/proc").glob("[0-9]*"):
        environ = read(path / "environ")
        whose = "" if str(stack.home.root) in environ else FOREIGN
        places.add(f"{whose}arguments of {path.name} {when}", read(path / "cmdline").replace("\0", " "))
        if not whose and ("CLOUDREC_SPOOL=" in environ or "CLOUDREC_SERVICEACCOUNT=" in environ):
            places.add(f"environment of {path.name} {when}", environ)


def files(places: Places, stack: Stack, when: str) -> None:
    """Logs, what the node keeps of its Pods, and their volumes but those that are Secrets or tokens."""
    for path in (*stack.home.logs.rglob("*"), *stack.home.node.rglob("*")):
        relative = path.relative_to(stack.home.root)
        third = path.is_relative_to(stack.home.logs) and path.name.startswith(THIRD_PARTY)
        mounted = "..data" in relative.parts or any(part.startswith("..") for part in relative.parts)
        if path.is_file() and not path.is_symlink() and not third and not mounted:
            places.add(f"{relative} {when}", read(path))


def read(path: Path) -> str:
    try:
        return path.read_bytes().decode("latin-1")
    except OSError:  # gone, or of another user
        return ""


async def resources(places: Places, cluster: Cluster) -> None:
    """Every object of every kind but Secrets: specs, statuses, annotations, Events, Leases, termination messages."""
    kinds = (await cluster.run("api-resources", "--verbs=list", "-o", "name")).split()
    wanted = ",".join(kind for kind in kinds if kind != "secrets")
    found = json.loads(await cluster.run("get", wanted, "-A", "-o", "json"))["items"]
    assert {"Pod", "Event", "CloudRecording", "RecordingApp", "Node"} <= {one["kind"] for one in found}
    for one in found:
        places.add(f"{one['kind']} {one['metadata']['name']}", json.dumps(one, ensure_ascii=False))


async def objects(places: Places, cluster: Cluster, names: tuple[str, ...]) -> None:
    """The names and contents in the bucket."""
    for name in names:
        found = await cluster.objects(name)
        listed = await asyncio.to_thread(found.names)
        assert any(one.endswith(".m3u8") for one in listed)
        places.add(f"object names of {name}", "\n".join(listed))
        for one in listed:
            places.add(f"object {one} of {name}", (await asyncio.to_thread(found.get, one)).decode("latin-1"))


# --- what is looked for ---------------------------------------------------------------------------------------------


def known(stack: Stack) -> dict[str, str]:
    """The stack's own."""
    state = stack.state()
    return {
        name: getattr(state, name).get_secret_value()
        for name in ("livekit_secret", "s3_secret_key", "gateway_secret_key", "callback_key")
    }


async def mounted(cluster: Cluster) -> dict[str, str]:
    """All that is in Secrets now, room tokens among them; a token's signature by itself, too."""
    found: dict[str, str] = {}
    for one in json.loads(await cluster.run("get", "secrets", "-n", NAMESPACE, "-o", "json"))["items"]:
        for key, encoded in one.get("data", {}).items():
            value = base64.b64decode(encoded).decode()
            if key not in PUBLIC and len(value) >= 16:
                found[f"{one['metadata']['name']}/{key}"] = value
                if value.startswith(JWT):
                    found[f"{one['metadata']['name']}/{key}, signature"] = value.rsplit(".", 1)[1]
    return found


# --- the tests ------------------------------------------------------------------------------------------------------


async def test_all_of_it_happened(seen: Seen) -> None:
    """Otherwise it is no wonder that nothing is told."""
    assert seen.statuses["well"].phase is Phase.COMPLETED
    assert all(status.phase is Phase.FAILED for name, status in seen.statuses.items() if name != "well")
    text = "\n".join(seen.places.texts.values())
    for word in ("TokenRefused", "BucketRefused", "AuthFailure", "CLOUDREC_LOG_LEVEL=DEBUG", "cloudrec_"):
        assert word in text, word
    assert sum("room/token" in name for name in seen.canaries) >= 3
    for part in (
        "arguments",
        "environment",
        "metrics",
        "containers/uploader",
        "containers/finisher",
        "spool",
        "object",
    ):
        assert any(part in where for where in seen.places.texts), part


async def test_a_secret_that_is_told_would_be_found(seen: Seen) -> None:
    for form in (str, lambda text: base64.b64encode(text.encode()).decode(), lambda text: quote(text, safe="")):
        places = Places({"here": f"... {form(seen.canaries['s3_secret_key'])} ..."})
        assert "s3_secret_key is in here" in places.finds(seen.canaries)


async def test_no_secret_is_told_anywhere(seen: Seen) -> None:
    assert seen.places.finds(seen.canaries) == []


async def test_no_token_is_told_anywhere(seen: Seen) -> None:
    """Nor any that is in no Secret, as service accounts' are."""
    told = [where for where, text in seen.places.texts.items() if JWT in text]
    assert [where for where in told if not where.startswith(FOREIGN)] == []
