"""One embedded stack: made, joined, healed, looked at, and taken away without a trace.

Its processes are detached and known by records in the stack's folder; there is no supervisor. `up` is level-triggered:
it starts what does not run, so it makes a stack, joins a running one, and mends one whose part has died.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from . import build, install, pki, processes
from .components import Component
from .components.agent import node_agent
from .components.bucket import bucket, leftovers
from .components.controlplane import control_plane
from .components.livekit import livekit
from .components.receiver import receiver
from .errors import ComponentError, StackError
from .home import DEFAULT_NAME, Home, locked, stack_folder, tool
from .processes import MARK, ProcessRecord
from .state import LOOPBACK, PARTS, Image, Part, StackState, new_state, with_needs
from .status import ComponentStatus, StackStatus, describe

Report = Callable[[str], None]
LOCK_TIMEOUT = 300  # another `up` may be waiting for its servers


def _silent(_: str) -> None:
    pass


class Stack:
    """The stack called `name` in `home` (default: by name under the user's state folder).

    `components` chooses parts (`api`, `node`, `livekit`, `bucket`, `receiver`, `operator`, `gateway`); each brings what
    it needs.
    `images` adds image references for the node agent. `address` is where the servers of a new stack listen.
    """

    users: tuple[str, ...] = ("controller-manager", "scheduler", "node")  # beside the admin

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        *,
        home: Path | None = None,
        components: Iterable[Part] = PARTS,
        images: Mapping[str, Image] | None = None,
        address: str = LOOPBACK,
    ) -> None:
        self.name = name
        self.home = Home(home.absolute() if home else stack_folder(name))
        self._parts = with_needs(components)
        self._images = dict(images or {})
        self._address = address

    # --- the three verbs ---------------------------------------------------------------------------------------------

    def up(self, report: Report = _silent) -> StackStatus:
        """Bring everything up, or join what runs, and return once all of it is ready.

        A stack that this call made is taken away again when the call fails or is interrupted.

        Raises:
            StackError: something is missing, did not build, died early or was not ready in time.
        """
        if self.home.is_foreign():
            raise StackError(f"{self.home.root} holds files that are no stack's", "choose another folder")
        self._programs(self._parts)  # may build for minutes: not with the lock in hand
        with locked(self.home.root / "lock", LOCK_TIMEOUT):
            state = StackState.load(self.home.state)
            made = state is None
            try:
                if state is None:
                    state = new_state(self.name, install.version(), self._parts, self._images, self._address)
                    report(f"making the stack in {self.home.root}")
                    pki.create(self.home.pki, state.node, state.address)
                    state.save(self.home.state)
                    self._kubeconfigs(state)
                elif state.version != install.version():
                    raise StackError(
                        f"the stack {self.name!r} was made by cloudrec {state.version}",
                        f"end it first: cloudrec down --name {self.name}",
                    )
                elif missing := set(self._parts) - set(state.parts):
                    raise StackError(
                        f"the stack {self.name!r} was made without {', '.join(sorted(missing))}",
                        f"end it first: cloudrec down --name {self.name}",
                    )
                self._start_all(self._components(state), report)
                install.buckets(state)
                install.cluster(state, self.home, report)
            except BaseException:
                if made:
                    self._remove()
                raise
        return self.status()

    def down(self, report: Report = _silent) -> bool:
        """End every process and remove the folder; False when there was no stack."""
        if not self.home.root.exists():
            return False
        if self.home.is_foreign():
            raise StackError(f"{self.home.root} holds files that are no stack's; nothing was removed")
        with locked(self.home.root / "lock", LOCK_TIMEOUT):
            existed = self.home.state.exists()
            report("ending the stack's processes")
            self._remove()
        return existed

    def status(self) -> StackStatus:
        """What runs, and every address, credential and path that a client needs.

        Raises:
            StackError: there is no such stack.
        """
        state = self.state()
        components = {}
        for path in sorted(self.home.run.glob("*.json")):
            record = ProcessRecord.model_validate_json(path.read_bytes())
            components[path.stem] = ComponentStatus(
                running=record.alive(), pid=record.pid, log=self.home.log(path.stem)
            )
        return describe(state, self.home, components)

    # --- for tests and tools -----------------------------------------------------------------------------------------

    def state(self) -> StackState:
        """The stack's ports and credentials. Raises StackError when there is no stack."""
        state = StackState.load(self.home.state)
        if state is None:
            raise StackError(f"there is no stack called {self.name!r}", "make one: cloudrec up")
        return state

    def stop(self, component: str, grace: float = 10) -> None:
        """End one process (`grace` 0: SIGKILL at once); `up` or `start` brings it back."""
        if record := self._record(component):
            processes.stop([record], grace)

    def start(self, component: str) -> None:
        """Start one process that does not run and wait until it is ready."""
        state = self.state()
        chosen = [c for c in self._components(state) if c.name == component]
        if not chosen:
            raise StackError(f"the stack has no component {component!r}")
        self._start_all(chosen, _silent)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _programs(self, parts: Iterable[Part]) -> dict[str, Path]:
        """Where the needed programs are: first what only has to be found, then what may have to be built."""
        programs: dict[str, Path] = {}
        chosen = set(parts)
        if "bucket" in chosen:
            programs["weed"] = tool("weed")
        if "api" in chosen:
            programs["kubectl"] = tool("kubectl")
        wanted = [name for name, part in (("kube", "api"), ("livekit-server", "livekit")) if part in chosen]
        return programs | build.ensure(wanted)

    def _kubeconfigs(self, state: StackState) -> None:
        if "api" not in state.parts:
            return
        pki.write_kubeconfig(self.home.kubeconfig, state.api_url, self.home.pki, "admin")
        for user in self.users:
            pki.write_kubeconfig(self.home.pki / f"{user}.kubeconfig", state.api_url, self.home.pki, user)

    def _components(self, state: StackState) -> list[Component]:
        programs = self._programs(state.parts)
        found: list[Component] = []
        if "api" in state.parts:
            found += control_plane(state, self.home, programs["kube"])
        if "livekit" in state.parts:
            found.append(livekit(state, self.home, programs["livekit-server"]))
        if "bucket" in state.parts:
            found.append(bucket(state, self.home, programs["weed"]))
        if "receiver" in state.parts:
            found.append(receiver(state, self.home))
        if "node" in state.parts:
            found += self._node(state)
        return found

    def _node(self, state: StackState) -> list[Component]:
        return [node_agent(state, self.home)]

    def _record_path(self, component: str) -> Path:
        return self.home.run / f"{component}.json"

    def _record(self, component: str) -> ProcessRecord | None:
        try:
            return ProcessRecord.model_validate_json(self._record_path(component).read_bytes())
        except FileNotFoundError:
            return None

    def _start_all(self, components: list[Component], report: Report) -> None:
        """Start what does not run, everything at once that has nothing to wait for, and wait until all is ready."""
        waiting = list(components)
        starting: dict[str, tuple[Component, ProcessRecord, float]] = {}
        unready = {component.name for component in components}
        while unready:
            for component in [c for c in waiting if not unready.intersection(c.after)]:
                waiting.remove(component)
                record = self._record(component.name)
                if record is None or not record.alive():
                    record = self._launch(component)
                starting[component.name] = (component, record, time.monotonic())
            for name, (component, record, since) in list(starting.items()):
                log = self.home.log(name)
                if not record.alive():
                    raise ComponentError(f"{name} ended early. The end of {log}:\n{processes.tail(log)}")
                if component.ready():
                    del starting[name]
                    unready.discard(name)
                    report(f"{name} is ready")
                elif time.monotonic() - since > component.timeout:
                    raise ComponentError(
                        f"{name} was not ready after {component.timeout:.0f} s. "
                        f"The end of {log}:\n{processes.tail(log)}"
                    )
            if starting:
                time.sleep(0.02)

    def _launch(self, component: Component) -> ProcessRecord:
        for path, content in component.files.items():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            pki.write_private(path, content.encode())
        record = processes.start(
            component.argv,
            log=self.home.log(component.name),
            cwd=self.home.data / component.name,
            env={**base_environment(), "HOME": str(self.home.data / component.name), **component.env},
            mark=str(self.home.root),
        )
        self.home.run.mkdir(exist_ok=True, mode=0o700)
        pki.write_private(self._record_path(component.name), record.model_dump_json().encode())
        return record

    def _readable_state(self) -> StackState | None:
        try:
            return StackState.load(self.home.state)
        except StackError:  # another version's: its processes are found without it
            return None

    def _remove(self) -> None:
        """End every process of the stack, containers too, and remove its folder. Idempotent."""
        root = str(self.home.root)
        records = {
            path.stem: ProcessRecord.model_validate_json(path.read_bytes()) for path in self.home.run.glob("*.json")
        }
        if agent := records.pop("node-agent", None):
            processes.stop([agent], 0)  # it must not restart what is ended next

        def ours(environ: Mapping[str, str]) -> bool:
            return environ.get(MARK, "").partition("#")[0] == root

        processes.stop([*records.values(), *processes.marked(ours)], 2)
        processes.sweep(ours)
        if state := self._readable_state():
            for path in leftovers(state):
                path.unlink(missing_ok=True)
        shutil.rmtree(self.home.root, ignore_errors=True)
        if self.home.root.parent.name == "cloudrec":
            with contextlib.suppress(OSError):  # other stacks are in it
                self.home.root.parent.rmdir()


def base_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the stack's processes get of this one's environment: no proxies, no credentials, no settings."""
    return {key: environ[key] for key in ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR") if key in environ}
