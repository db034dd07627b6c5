"""Files out of Secrets, ConfigMaps and the Pod, swapped in one step."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from cloudrec_local.node.downward import ConfigError, environment, field
from cloudrec_local.node.rewrite import rewriter
from cloudrec_local.node.volumes import MountError, data_of, pick, swap

POD = {
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a.b/c": "v"}},
    "spec": {"nodeName": "node", "serviceAccountName": "sa"},
}


def test_swap_turns_all_files_at_once_and_leaves_nothing_old(tmp_path: Path) -> None:
    assert swap(tmp_path, {"a": (b"1", 0o644), "dir/b": (b"2", 0o600)})
    first = (tmp_path / "..data").resolve()
    assert (tmp_path / "a").read_bytes() == b"1"
    assert (tmp_path / "dir" / "b").stat().st_mode & 0o777 == 0o600
    held = (tmp_path / "a").open("rb")  # a reader of the old version keeps it
    assert swap(tmp_path, {"a": (b"3", 0o644)})
    with held:
        assert held.read() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("..")) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"3"
    assert not first.exists()


def test_swap_without_a_change_does_nothing(tmp_path: Path) -> None:
    files = {"a": (b"1", 0o644)}
    assert swap(tmp_path, files)
    assert not swap(tmp_path, files)


def test_swap_to_nothing(tmp_path: Path) -> None:
    swap(tmp_path, {"a": (b"1", 0o644)})
    swap(tmp_path, {})
    assert not (tmp_path / "a").is_symlink()


def test_pick_all_some_and_missing_keys() -> None:
    data = {"a": b"1", "b": b"2"}
    assert pick(data, None, 0o640, "secret", False) == {"a": (b"1", 0o640), "b": (b"2", 0o640)}
    items = [{"key": "a", "path": "x/y", "mode": 0o400}]
    assert pick(data, items, 0o640, "secret", False) == {"x/y": (b"1", 0o400)}
    gone = [{"key": "c", "path": "c"}]
    assert pick(data, gone, 0o640, "secret", True) == {}
    with pytest.raises(MountError, match="references non-existent secret key: c"):
        pick(data, gone, 0o640, "secret", False)


def test_data_of_secret_and_config_map() -> None:
    encoded = {"k": base64.b64encode(b"\x00v").decode()}
    assert data_of("secrets", {"data": encoded}) == {"k": b"\x00v"}
    assert data_of("configmaps", {"data": {"t": "ü"}, "binaryData": encoded}) == {"t": "ü".encode(), "k": b"\x00v"}
    assert data_of("secrets", {}) == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.uid", "u"),
        ("metadata.labels['a.b/c']", "v"),
        ("metadata.annotations['none']", ""),
        ("metadata.labels", 'a.b/c="v"'),
        ("spec.nodeName", "node"),
        ("status.podIP", "127.0.0.9"),
        ("status.hostIP", "127.0.0.1"),
    ],
)
def test_field_reference(path: str, value: str) -> None:
    assert field(POD, path, "127.0.0.9") == value


async def lookup(kind: str, name: str) -> dict[str, bytes] | None:
    return {("secrets", "s"): {"k": b"/mnt/x"}, ("configmaps", "c"): {"E": b"e"}}.get((kind, name))


async def test_environment_in_order_with_paths_rewritten() -> None:
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "no", "optional": True}}],
        "env": [
            {"name": "A", "value": "/mnt"},
            {"name": "B", "value": "see $(A) $(P_E)"},
            {"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "O", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": True}}},
            {"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "EMPTY"},
        ],
    }
    env = await environment(POD, container, {"PATH": "/bin"}, "127.0.0.9", lookup, rewriter({"/mnt": "/h"}))
    assert env == {
        "PATH": "/bin",
        "P_E": "e",
        "A": "/h",
        "B": "see /h e",
        "K": "/h/x",
        "N": "p",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        ({"secretKeyRef": {"name": "s", "key": "none"}}, "couldn't find key none in Secret n/s"),
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"resourceFieldRef": {"resource": "limits.cpu"}}, "this node offers no resourceFieldRef"),
    ],
)
async def test_what_is_missing_is_named(source: dict[str, object], message: str) -> None:
    container = {"env": [{"name": "X", "valueFrom": source}]}
    with pytest.raises(ConfigError) as caught:
        await environment(POD, container, {}, "", lookup, rewriter({}))
    assert str(caught.value) == message
