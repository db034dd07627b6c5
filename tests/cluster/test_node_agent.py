"""The node agent against the real API server, scheduler and controllers: Pods as processes, judged by their status."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cloudrec_local.kubeapi import MERGE, ApiError, KubeApi, Object
from cloudrec_local.processes import MARK, marked
from cloudrec_local.stack import Stack
from tests.fixtures_stack import TOOLS

pytestmark = pytest.mark.cluster

PODS = "/api/v1/namespaces/default/pods"
SECRETS = "/api/v1/namespaces/default/secrets"
# a shell that does not end before it is told to, and says so
WAITS = "trap 'echo told to end; kill %1; exit 0' TERM; sleep 600 & echo here; wait"


class Cluster:
    """Makes Pods and waits for what becomes of them."""

    def __init__(self, api: KubeApi, stack: Stack) -> None:
        self.api = api
        self.stack = stack

    async def make(self, name: str, *mains: Object, init: list[Object] | None = None, **spec: Any) -> str:
        """Create a Pod with containers' defaults filled in; its uid."""
        filled = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 5,
            "containers": [{"name": f"c{i}", "image": TOOLS} | main for i, main in enumerate(mains)],
            "initContainers": [{"image": TOOLS} | container for container in init or []],
        }
        body = {"metadata": {"name": name}, "spec": filled | spec}
        made = await self.api.request("POST", PODS, body)
        return str(made["metadata"]["uid"])

    async def secret(self, name: str, **values: str) -> None:
        await self.api.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": "default"},
                "stringData": values,
            }
        )

    async def until(self, name: str, holds: Callable[[Object], Any], timeout: float = 15) -> Object:
        """The Pod's status, once `holds` of it."""
        status: Object = {}
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status = (await self.api.get(f"{PODS}/{name}"))["status"]
            if holds(status):
                return status
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} did not get there: {status}")

    async def over(self, name: str) -> Object:
        return await self.until(name, lambda status: status["phase"] in ("Succeeded", "Failed"))

    async def events(self, name: str, reason: str, timeout: float = 10) -> list[Object]:
        """The Pod's events with that reason, once there is one."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            selector = f"involvedObject.name={name},reason={reason}"
            listing = await self.api.get("/api/v1/namespaces/default/events", fieldSelector=selector)
            if found := listing["items"]:
                return list(found)
            await asyncio.sleep(0.05)
        raise AssertionError(f"no event {reason} for {name}")

    async def gone(self, name: str, timeout: float = 15) -> None:
        deadline = time.monotonic() + timeout
        while await self.api.get_or_none(f"{PODS}/{name}") is not None:
            assert time.monotonic() < deadline, f"{name} is still there"
            await asyncio.sleep(0.05)

    def log(self, uid: str, container: str, run: int = 0) -> str:
        return (self.stack.home.node / "pods" / uid / "containers" / container / f"{run}.log").read_text()

    async def logged(self, uid: str, container: str, text: str, timeout: float = 10) -> str:
        """The container's log, once `text` is in it."""
        path = self.stack.home.node / "pods" / uid / "containers" / container / "0.log"
        deadline = time.monotonic() + timeout
        while not (path.exists() and text in path.read_text()):
            assert time.monotonic() < deadline, path.read_text() if path.exists() else "no log"
            await asyncio.sleep(0.05)
        return path.read_text()

    def processes(self, uid: str) -> list[int]:
        """Numbers of the processes that run for a Pod."""
        prefix = f"{self.stack.home.root}#{uid}/"
        return [record.pid for record in marked(lambda env: env.get(MARK, "").startswith(prefix))]


@pytest.fixture
async def cluster(node_stack: Stack) -> AsyncIterator[Cluster]:
    async with KubeApi.from_kubeconfig(node_stack.home.kubeconfig) as api:
        yield Cluster(api, node_stack)


def main_state(status: Object, index: int = 0) -> Object:
    state = (status.get("containerStatuses") or [{"state": {}}])[index]["state"]
    assert isinstance(state, dict)
    return state


def sh(script: str, **more: Any) -> Object:
    return {"command": ["sh", "-c", script], **more}


async def test_exit_code_reason_and_last_words_are_reported(cluster: Cluster) -> None:
    script = 'echo "a line"; printf "so it ends" > "$LAST"; exit 7'
    await cluster.make("words", sh(script, env=[{"name": "LAST", "value": "/dev/termination-log"}]))
    status = await cluster.over("words")
    ended = main_state(status)["terminated"]
    assert status["phase"] == "Failed"
    assert (ended["exitCode"], ended["reason"], ended["message"]) == (7, "Error", "so it ends")
    assert ended["startedAt"] <= ended["finishedAt"]
    assert status["containerStatuses"][0]["ready"] is False
    assert {c["type"]: c["reason"] for c in status["conditions"] if c["type"] == "Ready"} == {"Ready": "PodFailed"}


async def test_log_end_is_the_message_of_a_failure_that_wrote_none(cluster: Cluster) -> None:
    await cluster.make(
        "fallback", sh("echo first; echo why >&2; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    )
    assert main_state(await cluster.over("fallback"))["terminated"]["message"] == "first\nwhy"


async def test_killed_by_a_signal_is_128_and_its_number(cluster: Cluster) -> None:
    await cluster.make("signal", sh("kill -9 $$$$"))
    assert main_state(await cluster.over("signal"))["terminated"]["exitCode"] == 137


async def test_sidecar_starts_first_and_ends_after_the_main_container(cluster: Cluster) -> None:
    mounts = [{"name": "spool", "mountPath": "/spool"}]
    uid = await cluster.make(
        "order",
        sh('test -e "$1/up" && echo found; echo main >> "$1/end"', args=["sh", "/spool"], volumeMounts=mounts),
        init=[
            sh('touch "$SPOOL/init"', name="plain", env=[{"name": "SPOOL", "value": "/spool"}], volumeMounts=mounts),
            sh(
                'trap \'cat "$SPOOL/end"; echo side; exit 3\' TERM; test -e "$SPOOL/init"; sleep 0.5; '
                'touch "$SPOOL/up"; while :; do sleep 0.05; done',
                name="side",
                restartPolicy="Always",
                env=[{"name": "SPOOL", "value": "/spool"}],
                startupProbe={"exec": {"command": ["test", "-e", "/spool/up"]}, "periodSeconds": 1},
                volumeMounts=mounts,
            ),
        ],
        volumes=[{"name": "spool", "emptyDir": {}}],
    )
    status = await cluster.over("order")
    assert cluster.log(uid, "c0") == "found\n"
    assert cluster.log(uid, "side") == "main\nside\n"
    assert status["phase"] == "Succeeded"  # a sidecar's exit code says nothing about the Pod
    ended = {c["name"]: c["state"]["terminated"]["exitCode"] for c in status["initContainerStatuses"]}
    assert ended == {"plain": 0, "side": 3}


async def test_failed_init_container_fails_the_pod(cluster: Cluster) -> None:
    await cluster.make("noinit", sh("echo never"), init=[sh("exit 4", name="first")])
    status = await cluster.over("noinit")
    assert status["phase"] == "Failed"
    assert status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    assert main_state(status)["terminated"]["reason"] == "ContainerStatusUnknown"


async def test_sidecar_that_dies_is_started_again(cluster: Cluster) -> None:
    await cluster.make("revive", sh(WAITS), init=[sh("exit 1", name="side", restartPolicy="Always")])

    def back(status: Object) -> bool:
        (side,) = status.get("initContainerStatuses") or [{"restartCount": 0}]
        return bool(side["restartCount"] >= 1)

    status = await cluster.until("revive", back)
    assert status["initContainerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 1
    await cluster.events("revive", "BackOff")


async def test_restart_policy_on_failure(cluster: Cluster) -> None:
    mounts = [{"name": "d", "mountPath": "/d"}]
    await cluster.make(
        "again",
        sh('test -e "$1/x" || { touch "$1/x"; exit 2; }', args=["sh", "/d"], volumeMounts=mounts),
        restartPolicy="OnFailure",
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    status = await cluster.over("again")
    assert status["phase"] == "Succeeded"
    assert status["containerStatuses"][0]["restartCount"] == 1


async def test_missing_secret_keeps_the_pod_waiting_until_it_is_there(cluster: Cluster) -> None:
    await cluster.make(
        "late",
        sh('cat "$S/key"', env=[{"name": "S", "value": "/s"}], volumeMounts=[{"name": "s", "mountPath": "/s"}]),
        volumes=[{"name": "s", "secret": {"secretName": "late"}}],
    )
    (event,) = await cluster.events("late", "FailedMount")
    assert 'secret "late" not found' in event["message"]
    status = (await cluster.api.get(f"{PODS}/late"))["status"]
    assert status["phase"] == "Pending"
    assert main_state(status)["waiting"]["reason"] == "ContainerCreating"
    await cluster.secret("late", key="value")
    assert (await cluster.over("late"))["phase"] == "Succeeded"


async def test_optional_secret_may_be_missing_and_a_required_variable_may_not(cluster: Cluster) -> None:
    await cluster.make(
        "optional",
        sh(
            'test -z "$(ls "$S")"',
            env=[
                {"name": "S", "value": "/s"},
                {"name": "V", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}},
            ],
            volumeMounts=[{"name": "s", "mountPath": "/s"}],
        ),
        volumes=[{"name": "s", "secret": {"secretName": "none", "optional": True}}],
    )
    await cluster.make(
        "required", sh("true", env=[{"name": "V", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}])
    )
    assert (await cluster.over("optional"))["phase"] == "Succeeded"
    status = await cluster.until(
        "required", lambda s: main_state(s).get("waiting", {}).get("reason") == "CreateContainerConfigError"
    )
    assert main_state(status)["waiting"]["message"] == 'secret "none" not found'


async def test_changed_secret_reaches_the_volume_within_a_second(cluster: Cluster) -> None:
    await cluster.secret("turning", key="one")
    uid = await cluster.make(
        "turning",
        sh(
            'cat "$S/key"; until grep -q two "$S/key"; do sleep 0.02; done; date +%s.%N',
            env=[{"name": "S", "value": "/s"}],
            volumeMounts=[{"name": "s", "mountPath": "/s", "readOnly": True}],
        ),
        volumes=[{"name": "s", "secret": {"secretName": "turning"}}],
    )
    await cluster.logged(uid, "c0", "one")
    changed = time.time()
    await cluster.secret("turning", key="two")
    await cluster.over("turning")
    assert float(cluster.log(uid, "c0").removeprefix("one")) - changed < 1.0


async def test_unknown_image_waits_as_with_a_kubelet(cluster: Cluster) -> None:
    await cluster.make("noimage", sh("true", image="example.org/none:1"))

    def waits(reason: str) -> Callable[[Object], bool]:
        return lambda status: main_state(status).get("waiting", {}).get("reason") == reason

    await cluster.until("noimage", waits("ErrImagePull"))
    status = await cluster.until("noimage", waits("ImagePullBackOff"))
    assert status["phase"] == "Pending"
    assert "example.org/none:1" in main_state(status)["waiting"]["message"]


async def test_program_that_is_not_there_is_a_start_error(cluster: Cluster) -> None:
    await cluster.make("noprogram", {"command": ["no-such-program"]})
    ended = main_state(await cluster.over("noprogram"))["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "no-such-program" in ended["message"]


async def test_http_probe_makes_ready_and_a_failing_liveness_probe_restarts(cluster: Cluster) -> None:
    server = (
        "import http.server, os, threading, pathlib\n"
        "class H(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        ok = self.path == '/ready' or not pathlib.Path(os.environ['D'], 'sick').exists()\n"
        "        self.send_response(200 if ok else 500); self.end_headers()\n"
        "http.server.HTTPServer((os.environ['IP'], 8080), H).serve_forever()\n"
    )
    uid = await cluster.make(
        "probed",
        {
            "command": ["python", "-c", server],
            "env": [
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "D", "value": "/d"},
            ],
            "ports": [{"name": "web", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "web"}, "periodSeconds": 1},
            "livenessProbe": {
                "httpGet": {"path": "/alive", "port": 8080},
                "initialDelaySeconds": 1,
                "periodSeconds": 1,
                "failureThreshold": 1,
            },
            "volumeMounts": [{"name": "d", "mountPath": "/d"}],
        },
        restartPolicy="Always",
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    await cluster.until("probed", lambda s: s.get("containerStatuses") and s["containerStatuses"][0]["ready"])
    (cluster.stack.home.node / "pods" / uid / "volumes" / "d" / "sick").touch()
    status = await cluster.until("probed", lambda s: s["containerStatuses"][0]["restartCount"] == 1)
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 143
    said = [event["message"] for event in await cluster.events("probed", "Unhealthy")]
    assert "Liveness probe failed: HTTP probe failed with statuscode: 500" in said
    await cluster.api.request("DELETE", f"{PODS}/probed")
    await cluster.gone("probed")


async def test_token_is_bound_to_the_pod_and_the_real_rules_hold(cluster: Cluster) -> None:
    script = (
        "import json, os, ssl, urllib.request, urllib.error\n"
        "d = os.environ['ACCOUNT']\n"
        "base = 'https://%(KUBERNETES_SERVICE_HOST)s:%(KUBERNETES_SERVICE_PORT)s' % os.environ\n"
        "def ask(path, data=None):\n"
        "    request = urllib.request.Request(base + path, data)\n"
        "    request.add_header('Authorization', 'Bearer ' + open(d + '/token').read())\n"
        "    request.add_header('Content-Type', 'application/json')\n"
        "    return urllib.request.urlopen(request, context=ssl.create_default_context(cafile=d + '/ca.crt'))\n"
        "review = {'apiVersion': 'authentication.k8s.io/v1', 'kind': 'SelfSubjectReview'}\n"
        "answer = ask('/apis/authentication.k8s.io/v1/selfsubjectreviews', json.dumps(review).encode())\n"
        "info = json.load(answer)['status']['userInfo']\n"
        "print(info['username'], info['extra']['authentication.kubernetes.io/pod-name'][0])\n"
        "try: ask('/api/v1/namespaces/default/secrets')\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    uid = await cluster.make(
        "bound",
        {
            "command": ["python", "-c", script],
            "env": [{"name": "ACCOUNT", "value": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        },
        automountServiceAccountToken=True,
    )
    await cluster.over("bound")
    assert cluster.log(uid, "c0") == "system:serviceaccount:default:default bound\n403\n"


async def test_deletion_ends_main_then_sidecars_in_reverse_within_the_grace(cluster: Cluster) -> None:
    says = "trap 'echo %s >> \"$D/order\"; exit 0' TERM; while :; do sleep 0.05; done"
    common: Object = {
        "env": [{"name": "D", "value": "/d"}],
        "volumeMounts": [{"name": "d", "mountPath": "/d"}],
    }
    folder = cluster.stack.home.node.parent / "order"
    folder.mkdir()
    await cluster.make(
        "orderly",
        sh(says % "main", **common),
        init=[
            sh(says % "one", name="one", restartPolicy="Always", **common),
            sh(says % "two", name="two", restartPolicy="Always", **common),
        ],
        volumes=[{"name": "d", "hostPath": {"path": str(folder)}}],
    )
    await cluster.until("orderly", lambda s: s["phase"] == "Running")
    await asyncio.sleep(0.3)  # the shells set their traps; nothing tells when
    await cluster.api.request("DELETE", f"{PODS}/orderly")
    await cluster.gone("orderly")
    assert (folder / "order").read_text().split() == ["main", "two", "one"]


async def test_what_ignores_sigterm_is_killed_with_all_it_started(cluster: Cluster) -> None:
    script = "trap '' TERM; setsid sh -c 'trap \"\" TERM; echo child; sleep 300' & echo here; wait"
    uid = await cluster.make("stubborn", sh(script), terminationGracePeriodSeconds=1)
    await cluster.logged(uid, "c0", "child")
    assert len(cluster.processes(uid)) >= 2
    before = time.monotonic()
    await cluster.api.request("DELETE", f"{PODS}/stubborn")
    await cluster.gone("stubborn")
    assert 0.9 < time.monotonic() - before < 5
    assert cluster.processes(uid) == []


async def test_kubectl_logs_follows_and_tails(cluster: Cluster) -> None:
    uid = await cluster.make("talks", sh("echo one; echo two; until test -e $HOME/go; do sleep 0.05; done; echo three"))
    await cluster.logged(uid, "c0", "two")
    status = cluster.stack.status().kubernetes
    assert status is not None
    base = [str(status.kubectl), f"--kubeconfig={status.kubeconfig}", "logs", "talks"]
    tail = await asyncio.to_thread(subprocess.run, [*base, "--tail=1"], capture_output=True, text=True, timeout=20)
    assert tail.stdout == "two\n", tail.stderr
    follow = await asyncio.create_subprocess_exec(*base, "-f", stdout=subprocess.PIPE)
    assert follow.stdout is not None
    assert [await follow.stdout.readline() for _ in range(2)] == [b"one\n", b"two\n"]
    (cluster.stack.home.node / "pods" / uid / "containers" / "c0" / "home" / "go").touch()
    assert await asyncio.wait_for(follow.stdout.read(), 10) == b"three\n"
    assert await follow.wait() == 0


async def test_requests_are_weighed_against_the_machine(cluster: Cluster) -> None:
    await cluster.make("greedy", sh("true", resources={"requests": {"cpu": f"{(os.cpu_count() or 1) + 1}"}}))
    (event,) = await cluster.events("greedy", "FailedScheduling")
    assert "Insufficient cpu" in event["message"]


async def test_evicted_pod_ends_gracefully(cluster: Cluster) -> None:
    uid = await cluster.make("evicted", sh(WAITS))
    await cluster.logged(uid, "c0", "here")
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "evicted", "namespace": "default"}}
    await cluster.api.request("POST", f"{PODS}/evicted/eviction", body)
    await cluster.gone("evicted")
    assert cluster.processes(uid) == []


async def test_restarted_agent_adopts_what_runs_and_clears_what_is_gone(cluster: Cluster) -> None:
    stays = await cluster.make("stays", sh(WAITS))
    ends = await cluster.make("ends", sh(WAITS))
    goes = await cluster.make("goes", sh(WAITS))
    for uid in (stays, ends, goes):
        await cluster.logged(uid, "c0", "here")
    pids = cluster.processes(stays)
    cluster.stack.stop("node-agent", grace=0)
    assert cluster.processes(stays) == pids
    for pid in cluster.processes(ends):
        os.kill(pid, 9)
    force = {"gracePeriodSeconds": 0}
    await cluster.api.request("DELETE", f"{PODS}/goes", force)
    await asyncio.to_thread(cluster.stack.start, "node-agent")

    status = await cluster.over("ends")
    assert main_state(status)["terminated"]["reason"] == "ContainerStatusUnknown"
    assert (await cluster.api.get(f"{PODS}/stays"))["status"]["phase"] == "Running"
    assert cluster.processes(stays)[:1] == pids[:1]
    await _until(lambda: not cluster.processes(goes))
    await cluster.api.request("DELETE", f"{PODS}/stays")
    await cluster.gone("stays")
    assert cluster.processes(stays) == []
    assert not (cluster.stack.home.node / "pods" / goes).exists()


async def test_node_may_touch_only_what_is_its_own(cluster: Cluster) -> None:
    await cluster.secret("private", key="value")
    async with KubeApi.from_kubeconfig(cluster.stack.home.pki / "node.kubeconfig") as node:
        with pytest.raises(ApiError, match="403"):
            await node.get(f"{SECRETS}/private")
        change = {"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}}
        with pytest.raises(ApiError, match="403"):
            await node.request("PATCH", f"/api/v1/nodes/{cluster.stack.state().node}", change, content_type=MERGE)


async def _until(condition: Callable[[], bool], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def test_folder_is_private(node_stack: Stack) -> None:
    assert node_stack.home.state.stat().st_mode & 0o077 == 0
    assert Path(node_stack.home.pki).stat().st_mode & 0o077 == 0
