"""A Pod's volumes as folders: emptyDir, hostPath, and files out of Secrets, ConfigMaps, tokens and the Pod itself.

Files are swapped as kubelet swaps them: each is a link through `..data`, which is turned to a new folder in one rename,
so a reader sees all old or all new. A changed Secret is there within a second.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..kubeapi import UNREACHABLE, ApiError, KubeApi, Object
from .downward import field
from .references import Kind, Reference, References

log = logging.getLogger(__name__)
Files = dict[str, tuple[bytes, int]]
DEFAULT_MODE = 0o644
TOKEN_SECONDS = 3607
KNOWN_WITHIN = 5.0
RETRY = 5.0


class MountError(Exception):
    """A volume cannot be made yet; the message is kubelet's."""


def pick(
    data: Mapping[str, bytes], items: Iterable[Mapping[str, Any]] | None, mode: int, what: str, optional: bool
) -> Files:
    """Files of an object's data: all keys, or `items` under their own paths. Raises MountError on a missing key."""
    if items is None:
        return {key: (value, mode) for key, value in data.items()}
    files: Files = {}
    for item in items:
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode", mode))
        elif not optional:
            raise MountError(f"references non-existent {what} key: {item['key']}")
    return files


def data_of(kind: Kind, resource: Object) -> dict[str, bytes]:
    """The bytes in a Secret or ConfigMap by key."""
    encoded = resource.get("data" if kind == "secrets" else "binaryData") or {}
    plain = {} if kind == "secrets" else resource.get("data") or {}
    return {k: base64.b64decode(v) for k, v in encoded.items()} | {k: v.encode() for k, v in plain.items()}


def swap(folder: Path, files: Files) -> bool:
    """Make `files` the content of `folder` in one step; False when they were already."""
    link = folder / "..data"
    if link.exists() and _read(link.resolve()) == files:
        return False
    folder.mkdir(parents=True, exist_ok=True)
    old = link.resolve() if link.exists() else None
    fresh = folder / f"..{time.time_ns()}"
    fresh.mkdir()
    for name, (content, mode) in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(mode | 0o400)
    turned = folder / "..data_tmp"
    turned.unlink(missing_ok=True)
    turned.symlink_to(fresh.name)
    turned.rename(link)
    tops = {name.split("/", 1)[0] for name in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    for entry in folder.iterdir():
        if not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old and old != fresh:
        shutil.rmtree(old, ignore_errors=True)
    return True


def _read(folder: Path) -> Files:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file()
    }


class Volumes:
    """The volumes of one Pod below `folder`; `paths` maps their names to folders once `mount` has returned."""

    def __init__(self, pod: Object, folder: Path, api: KubeApi, references: References, ip: str) -> None:
        self._pod = pod
        self._folder = folder
        self._api = api
        self._references = references
        self._ip = ip
        self._followed: dict[tuple[Kind, str], Reference] = {}
        self._changed = asyncio.Event()
        self._tokens: dict[str, tuple[bytes, float]] = {}  # by audience and life: the token, when to renew it
        self.paths: dict[str, str] = {}

    async def mount(self) -> None:
        """Make every volume, once.

        Raises:
            MountError: something that they need is not there.
            ApiError, UNREACHABLE: the API server did not help.
        """
        paths = {}
        for volume in self._pod["spec"].get("volumes", []):
            try:
                paths[volume["name"]] = str(await self._make(volume))
            except MountError as error:
                raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
        self.paths = paths

    async def keep(self) -> None:
        """Follow changes and renew tokens until cancelled."""
        while True:
            renewals = [when for _, when in self._tokens.values()]
            pause = max(0.0, min(renewals) - time.monotonic()) if renewals else None
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.mount()
            except (MountError, ApiError, *UNREACHABLE) as error:
                log.warning("Pod %s: a volume was not refreshed: %s", self._pod["metadata"]["name"], error)
                await asyncio.sleep(RETRY)
                self._changed.set()

    async def changed(self, timeout: float) -> None:
        """Wait until something that a volume needs has changed, at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    def close(self) -> None:
        """Follow nothing any more."""
        for reference in self._followed.values():
            self._references.release(reference, self._changed.set)
        self._followed.clear()

    async def _make(self, volume: Mapping[str, Any]) -> Path:
        folder = self._folder / str(volume["name"])
        if host := volume.get("hostPath"):
            return Path(str(host["path"]))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if "emptyDir" in volume:
            return folder
        if secret := volume.get("secret"):
            source = {**secret, "name": secret["secretName"]}
            sources: list[Any] = [{"secret": source}]
            mode = secret.get("defaultMode", DEFAULT_MODE)
        elif config := volume.get("configMap"):
            sources, mode = [{"configMap": config}], config.get("defaultMode", DEFAULT_MODE)
        elif downward := volume.get("downwardAPI"):
            sources, mode = [{"downwardAPI": downward}], downward.get("defaultMode", DEFAULT_MODE)
        elif projected := volume.get("projected"):
            sources, mode = projected.get("sources", []), projected.get("defaultMode", DEFAULT_MODE)
        else:
            raise MountError(f"this node has no volumes of the kind {', '.join(set(volume) - {'name'})}")
        files: Files = {}
        for item in sources:
            files.update(await self._source(item, mode))
        swap(folder, files)
        return folder

    async def _source(self, source: Mapping[str, Any], mode: int) -> Files:
        if secret := source.get("secret"):
            return await self._object("secrets", "secret", secret, mode)
        if config := source.get("configMap"):
            return await self._object("configmaps", "configmap", config, mode)
        if token := source.get("serviceAccountToken"):
            return {token["path"]: (await self._token(token), mode)}
        if downward := source.get("downwardAPI"):
            files: Files = {}
            for item in downward.get("items", []):
                if "fieldRef" not in item:
                    raise MountError("this node offers no resourceFieldRef")
                value = field(self._pod, item["fieldRef"]["fieldPath"], self._ip)
                files[item["path"]] = (value.encode(), item.get("mode", mode))
            return files
        raise MountError(f"this node cannot project {', '.join(source)}")

    async def _object(self, kind: Kind, word: str, source: Mapping[str, Any], mode: int) -> Files:
        name, optional = source["name"], source.get("optional", False)
        key = (kind, name)
        if key not in self._followed:
            namespace = self._pod["metadata"]["namespace"]
            self._followed[key] = self._references.follow(kind, namespace, name, self._changed.set)
        reference = self._followed[key]
        try:
            async with asyncio.timeout(KNOWN_WITHIN):
                await reference.known.wait()
        except TimeoutError:
            raise MountError(f'failed to sync {word} cache for "{name}"') from None
        if reference.current is None:
            if optional:
                return {}
            raise MountError(f'{word} "{name}" not found')
        return pick(data_of(kind, reference.current), source.get("items"), mode, word, optional)

    async def _token(self, source: Mapping[str, Any]) -> bytes:
        audience, seconds = source.get("audience", ""), source.get("expirationSeconds", TOKEN_SECONDS)
        key = f"{audience} {seconds}"
        if key in self._tokens and time.monotonic() < self._tokens[key][1]:
            return self._tokens[key][0]
        meta = self._pod["metadata"]
        account = self._pod["spec"].get("serviceAccountName", "default")
        body = {
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": meta["name"],
                    "uid": meta["uid"],
                },
            }
        }
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        answer = await self._api.request("POST", path, body)
        token: bytes = answer["status"]["token"].encode()
        self._tokens[key] = (token, time.monotonic() + 0.8 * seconds)
        return token
