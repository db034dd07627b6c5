"""The life of one container: waiting, running, ended, again; its probes, its log, its last words."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..kubeapi import Object
from ..pki import write_private
from ..processes import ProcessRecord
from .launch import NotYetError, Start, Surroundings, prepare, termination_log
from .probes import Target, Verdict, ask
from .process import ContainerProcess, StartError
from .status import (
    LOG_LIMIT,
    MESSAGE_LIMIT,
    UNKNOWN_EXIT,
    Facts,
    Role,
    exit_code,
    restarts,
    terminated,
    termination_message,
    timestamp,
)

log = logging.getLogger(__name__)
# kubelet's figures with its shorter crash-loop curve (KEP-4603); images are only looked up here, so sooner
BACKOFF_FIRST, BACKOFF_LAST, BACKOFF_RESET = 1.0, 60.0, 600.0
KEPT_LOGS = 2
LOG_BYTES, LOG_KEPT = 32 * 2**20, 2**20


class _Saved(BaseModel):
    """What a restarted agent needs to go on."""

    model_config = ConfigDict(extra="forbid")

    facts: Facts
    process: ProcessRecord | None = None


class Container:
    """One container of one Pod. `run` in a task; `terminate` and `kill` end it for good."""

    def __init__(self, spec: Object, role: Role, policy: str, surroundings: Surroundings) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.role: Role = role
        self._policy = policy
        self._around = surroundings
        self._folder = surroundings.folder / "containers" / str(spec["name"])
        self._mark = f"{surroundings.mark}#{surroundings.pod['metadata']['uid']}/{self.name}"
        self._process: ContainerProcess | None = None
        self._stopping = asyncio.Event()
        self._target: Target | None = None
        self.up = asyncio.Event()  # started, by its startup probe if it has one
        saved = self._load()
        self._resumed = saved is not None
        self._record = saved.process if saved else None
        self.facts = (
            saved.facts
            if saved
            else Facts(
                name=self.name,
                role=role,
                image=spec["image"],
                state={"waiting": {"reason": "ContainerCreating"}},
            )
        )

    # --- for the Pod -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until the container has ended for good: by its restart policy, or because it was told to."""
        backoff = 0.0
        if self._resumed and self.facts.running:
            await self._resume()
        elif self._resumed and "waiting" in self.facts.state and self.facts.last_state:
            self.facts.restart_count += 1  # its back-off was cut short by the agent's end
        while not self._stopping.is_set():
            code = self.facts.exit_code
            if code is not None:
                if not restarts(self._policy, code):
                    return
                backoff = await self._back_off(backoff)
                if self._stopping.is_set():
                    return
            began = time.monotonic()
            try:
                await self._once()
            except NotYetError as error:
                if not await self._wait_for(error):
                    return
            if time.monotonic() - began > BACKOFF_RESET:
                backoff = 0.0

    async def terminate(self) -> None:
        """Ask it to end (preStop hook, then SIGTERM) and never start again."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        if self._process is not None:
            self._around.event("Normal", "Killing", f"Stopping container {self.name}")
            await self._pre_stop()
            if self._process is not None:
                self._process.terminate()

    def kill(self) -> None:
        """SIGKILL what runs; it never starts again."""
        self._stopping.set()
        if self._process is not None:
            self._process.kill()

    def settle(self) -> None:
        """Nothing will run any more: give the status its last form."""
        facts = self.facts
        if "waiting" in facts.state:
            if "terminated" in facts.last_state:
                facts.state, facts.last_state = facts.last_state, {}
            elif self.role != "init":
                message = "The container could not be located when the pod was terminated"
                facts.state = terminated(
                    UNKNOWN_EXIT, timestamp(), "", message=message, reason="ContainerStatusUnknown"
                )
        facts.ready = facts.started = False

    @property
    def running(self) -> bool:
        return self._process is not None

    def log_path(self, previous: bool = False) -> Path:
        """The log of the current, or of the previous run."""
        return self._log(self.facts.restart_count - (1 if previous else 0))

    async def _prepare(self) -> Start:
        return await prepare(self.spec, self._around, self._folder, self._mark)

    def trim_log(self) -> None:
        """Keep a log that has grown too long to its last part; whoever writes appends."""
        path = self.log_path()
        if path.exists() and path.stat().st_size > LOG_BYTES:
            kept = _tail(path, LOG_KEPT)
            os.truncate(path, 0)
            with path.open("ab") as file:
                file.write(kept)

    # --- one run -----------------------------------------------------------------------------------------------------

    async def _once(self) -> None:
        start = await self._prepare()
        message = termination_log(self._folder)
        message.write_bytes(b"")
        run_log = self._log(self.facts.restart_count)
        run_log.unlink(missing_ok=True)
        self._log(self.facts.restart_count - KEPT_LOGS).unlink(missing_ok=True)
        began = timestamp()
        try:
            process = ContainerProcess.start(start.argv, env=start.env, cwd=start.cwd, log=run_log)
        except StartError as error:
            run_log.touch()
            self._around.event("Warning", "Failed", f"Error: {error}")
            self._end(terminated(128, began, "", message=str(error), reason="StartError"))
            return
        self.facts.container_id = f"process://{process.record.pid}-{process.record.started}"
        self.facts.state = {"running": {"startedAt": began}}
        self._record = process.record
        self._target = start.target
        self._around.event("Normal", "Started", f"Container started: {self.name}")
        await self._watch(process)

    async def _resume(self) -> None:
        """Go on with what an earlier agent started."""
        process = ContainerProcess.adopt(self._record, self._mark) if self._record else None
        if process is None:
            self._end(self._lost())
            return
        log.info("adopted %s of %s", self.name, self._around.pod["metadata"]["name"])
        try:
            self._target = (await self._prepare()).target
        except NotYetError as error:  # it runs, but cannot be probed with what it was started with
            log.warning("probes of %s are off: %s", self.name, error)
        await self._watch(process)

    async def _watch(self, process: ContainerProcess) -> None:
        self._process = process
        probes = asyncio.create_task(self._probe())
        self._changed()
        if self._stopping.is_set():  # told to end while it was being started
            process.terminate()
        try:
            code = await process.wait()
        finally:
            probes.cancel()
            await asyncio.gather(probes, return_exceptions=True)
            self._process = None
        if code is None:
            self._end(self._lost())
            return
        ended = exit_code(code)
        message = termination_message(
            self.spec.get("terminationMessagePolicy", "File"),
            ended,
            _head(termination_log(self._folder), MESSAGE_LIMIT),
            _tail(self._log(self.facts.restart_count), LOG_LIMIT),
        )
        began = self.facts.state["running"]["startedAt"]
        self._end(terminated(ended, began, self.facts.container_id, message=message))

    def _lost(self) -> dict[str, Any]:
        began = self.facts.state.get("running", {}).get("startedAt", timestamp())
        message = "the container ended while the node's agent was away"
        return terminated(
            UNKNOWN_EXIT, began, self.facts.container_id, message=message, reason="ContainerStatusUnknown"
        )

    def _end(self, state: dict[str, Any]) -> None:
        self.facts.state = state
        self.facts.ready = self.facts.started = False
        self.up.clear()
        self._record = None
        self._changed()

    async def _back_off(self, before: float) -> float:
        """Wait before the next start; the pause that was made, for the next one to double."""
        pause = min(max(BACKOFF_FIRST, before * 2), BACKOFF_LAST)
        meta = self._around.pod["metadata"]
        message = (
            f"back-off {pause:g}s restarting failed container={self.name} "
            f"pod={meta['name']}_{meta['namespace']}({meta['uid']})"
        )
        self.facts.last_state = self.facts.state
        self.facts.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._changed()
        self._around.event("Warning", "BackOff", f"Back-off restarting failed container {self.name}")
        await self._pause(pause)
        if not self._stopping.is_set():
            self.facts.restart_count += 1
        return pause

    async def _wait_for(self, error: NotYetError) -> bool:
        """Show why it waits and wait; False when it was told to end."""
        self.facts.state = {"waiting": {"reason": error.reason, "message": str(error)}}
        self._changed()
        self._around.event("Warning", "Failed", f"Error: {error.reason}: {error}")
        await self._pause(BACKOFF_FIRST)
        if self._stopping.is_set():
            return False
        if error.reason == "ErrImagePull":
            message = f'Back-off pulling image "{self.spec["image"]}": ErrImagePull: {error}'
            self.facts.state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
            self._changed()
            await self._pause(BACKOFF_LAST)
        return not self._stopping.is_set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    # --- probes and hooks --------------------------------------------------------------------------------------------

    async def _probe(self) -> None:
        try:
            if (startup := self.spec.get("startupProbe")) and not self.facts.started:
                verdict = await self._observe(startup, "Startup", until_healthy=True)
                if not verdict:
                    return
            self.facts.started = self.facts.once = True
            if "readinessProbe" not in self.spec:
                self.facts.ready = True
            self.up.set()
            self._changed()
            async with asyncio.TaskGroup() as group:
                if readiness := self.spec.get("readinessProbe"):
                    group.create_task(self._observe(readiness, "Readiness"))
                if liveness := self.spec.get("livenessProbe"):
                    group.create_task(self._observe(liveness, "Liveness"))
        except Exception:
            log.exception("probes of %s", self.name)
            raise

    async def _observe(self, probe: Mapping[str, Any], kind: str, *, until_healthy: bool = False) -> bool:
        """Ask again and again and act on verdicts; returns only for a startup probe, or after killing."""
        if self._target is None:
            return True
        verdict = Verdict.of(probe)
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        while True:
            ok, said = await ask(probe, self._target, probe.get("timeoutSeconds", 1))
            if not ok:
                self._around.event("Warning", "Unhealthy", f"{kind} probe failed: {said}")
            if verdict.observe(ok):
                if kind == "Readiness":
                    self.facts.ready = ok
                    self._changed()
                elif not ok:
                    await self._kill_unhealthy(probe, kind)
                    return False
                elif until_healthy:
                    return True
            await asyncio.sleep(probe.get("periodSeconds", 10))

    async def _kill_unhealthy(self, probe: Mapping[str, Any], kind: str) -> None:
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is None:
            grace = self._around.pod["spec"].get("terminationGracePeriodSeconds", 30)
        self._around.event("Normal", "Killing", f"Container {self.name} failed {kind.lower()} probe")
        process = self._process
        if process is not None:
            process.terminate()
            # on the loop, not in this task: it is cancelled when the process ends
            asyncio.get_running_loop().call_later(grace, process.kill)

    async def _pre_stop(self) -> None:
        hook = self.spec.get("lifecycle", {}).get("preStop")
        if hook and self._target:
            grace = self._around.pod["spec"].get("terminationGracePeriodSeconds", 30)
            ok, said = await ask(hook, self._target, grace)
            if not ok:
                self._around.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {said}")

    # --- what is kept ------------------------------------------------------------------------------------------------

    def _log(self, run: int) -> Path:
        return self._folder / f"{run}.log"

    def _load(self) -> _Saved | None:
        try:
            return _Saved.model_validate_json((self._folder / "facts.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _changed(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        saved = _Saved(facts=self.facts, process=self._record)
        write_private(self._folder / "facts.json", saved.model_dump_json().encode())
        self._around.changed()


def _head(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError:
        return b""


def _tail(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            return file.read()
    except OSError:
        return b""
