"""The one-node cluster's pure parts: configurations, commands, cgroups, and images as archives."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from pathlib import Path

import pytest
import yaml

from cloudrec_local.errors import StackError
from cloudrec_local.onenode import cgroups, configuration, enclosure, remains, requirements
from cloudrec_local.onenode.cluster import running
from cloudrec_local.onenode.configuration import Layout
from cloudrec_local.onenode.image import debian, layers, oci, project

LAYOUT = Layout(Path("/somewhere"), "cloudrec-x")
HYBRID = """\
tmpfs /sys/fs/cgroup tmpfs rw 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0
cgroup /elsewhere cgroup rw,cpu 0 0
"""


def test_v1_hierarchies_come_first_and_only_those_of_the_machine() -> None:
    found = [point.name for point in cgroups.hierarchies(HYBRID)]
    assert found == ["memory", "cpu", "unified"]


def test_a_group_is_removed_with_what_is_below_it(tmp_path: Path) -> None:
    cgroups.create("g", [tmp_path])
    (tmp_path / "g" / "kubepods" / "pod").mkdir(parents=True)
    assert cgroups.remove("g", [tmp_path]) == []
    assert not (tmp_path / "g").exists()


def test_a_busy_group_is_named(tmp_path: Path) -> None:
    cgroups.create("g", [tmp_path])
    (tmp_path / "g" / "busy").touch()  # a folder with a file cannot be removed, as a cgroup with a process
    assert cgroups.remove("g", [tmp_path], seconds=0) == [tmp_path / "g"]


def test_only_what_the_dead_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{remains.PREFIX}just-made").mkdir()
    with remains.new_folder() as folder:
        assert remains.of_the_dead(tmp_path) == []
    assert remains.of_the_dead(tmp_path) == [folder]


def test_kubelet_and_containerd_meet_at_one_socket_and_in_one_cgroup() -> None:
    told = yaml.safe_load(configuration.kubelet(LAYOUT, Path("/pki"), 10250))
    assert told["containerRuntimeEndpoint"] == f"unix://{LAYOUT.socket}"
    assert f'address = "{LAYOUT.socket}"' in configuration.containerd(LAYOUT, Path("/plugins"))
    assert told["cgroupRoot"] == "/cloudrec-x"
    assert told["authentication"]["anonymous"] == {"enabled": False}


def test_pods_have_addresses_of_their_own() -> None:
    network = json.loads(configuration.network())
    (subnet,) = [each["subnet"] for each in network["plugins"][0]["ipam"]["ranges"][0]]
    assert subnet == yaml.safe_load(configuration.kube_proxy(Path("/k"), "n"))["clusterCIDR"]


def test_what_is_covered_keeps_its_contents_and_loses_its_changes() -> None:
    commands = enclosure.mount_commands([Path("/var/lib")], Path("/run/s"))
    assert commands[-1][-2:] == ["overlay", "/var/lib"]
    assert "lowerdir=/var/lib,upperdir=/run/s/lib/upper,workdir=/run/s/lib/work" in commands[-1]
    assert commands.index(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]) < len(commands) - 2


def test_the_enclosure_ends_with_its_maker() -> None:
    argv = enclosure.command(["true"])
    assert argv[:4] == ["setpriv", "--pdeathsig", "KILL", "unshare"]
    assert {"--net", "--mount", "--pid", "--kill-child=KILL"} <= set(argv)
    assert argv[-2:] == ["--", "true"]


def test_missing_programs_are_named_by_package() -> None:
    assert requirements.missing_packages(lambda program: program not in ("ctr", "runc", "containerd"), True) == [
        "containerd",
        "runc",
    ]
    assert requirements.missing_packages(lambda _: True, False) == ["containernetworking-plugins"]


def test_root_is_needed_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements.os, "geteuid", lambda: 1000)
    with pytest.raises(StackError, match="needs root"):
        requirements.check()


def test_no_cluster_is_an_error_with_a_way_out() -> None:
    with pytest.raises(StackError, match="one-node cluster") as refused:
        running({})
    assert "cloudrec_local.onenode" in refused.value.hint


def test_cni_plugins_are_all_in_one_folder(tmp_path: Path) -> None:
    assert requirements.cni_plugins([tmp_path]) is None
    for name in requirements.PLUGINS:
        (tmp_path / name).touch()
    assert requirements.cni_plugins([tmp_path / "not", tmp_path]) == tmp_path


def test_packages_that_only_scripts_need_are_left_out() -> None:
    said = "'http://x/p/python3_3.11.2-1%2bb1_amd64.deb' python3_3.11.2-1+b1_amd64.deb 12 SHA256:0\n"
    said += "'http://x/d/debconf_1.5_all.deb' debconf_1.5_all.deb 12 SHA256:0\n"
    assert debian.parse_uris(f"NOTE: something\n{said}") == ["python3_3.11.2-1+b1_amd64.deb"]


def test_programs_of_a_wheel_get_launchers() -> None:
    (script,) = project.launchers("[console_scripts]\nrun-it = a.b:main\n[other]\nx = y:z\n").values()
    assert script.startswith("#!/usr/bin/python3 -P\n")
    assert "from a.b import main" in script


def _folder(path: Path) -> Path:
    (path / "b").mkdir(parents=True)
    (path / "b" / "file").write_text("text")
    (path / "a").symlink_to("b/file")
    return path


def test_the_same_contents_make_the_same_layer(tmp_path: Path) -> None:
    one = layers.archive_folder(_folder(tmp_path / "1"), tmp_path / "1.tar")
    two = layers.archive_folder(_folder(tmp_path / "2"), tmp_path / "2.tar")
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as archive:
        assert archive.getnames() == ["a", "b", "b/file"]
        assert {(entry.uid, entry.gid, entry.mtime) for entry in archive} == {(0, 0, 0)}


def test_an_image_holds_together(tmp_path: Path) -> None:
    layer = layers.archive_folder(_folder(tmp_path / "1"), tmp_path / "1.tar")
    image = oci.Image("docker.io/cloudrec/recorder:1", "65532:65532", {"PATH": "/bin"}, ("run",))
    out = oci.write(tmp_path / "images" / "it.tar", image, [layer])
    with tarfile.open(out) as archive:
        blobs = {f"sha256:{Path(entry.name).name}": _read(archive, entry) for entry in archive if "blobs" in entry.name}
        index = json.loads(_read(archive, archive.getmember("index.json")))
    assert all(digest == f"sha256:{hashlib.sha256(content).hexdigest()}" for digest, content in blobs.items())
    (described,) = index["manifests"]
    assert described["annotations"]["io.containerd.image.name"] == image.reference
    manifest = json.loads(blobs[described["digest"]])
    config = json.loads(blobs[manifest["config"]["digest"]])
    assert config["config"]["User"] == "65532:65532"
    assert config["rootfs"]["diff_ids"] == [entry["digest"] for entry in manifest["layers"]]
    assert blobs[manifest["layers"][0]["digest"]] == layer.read_bytes()


def _read(archive: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(entry)
    assert file is not None
    return file.read()


@pytest.mark.parametrize(("machine", "named"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_the_image_says_for_which_machine_it_is(machine: str, named: str) -> None:
    image = oci.Image("x/y:1", "", {}, ("run",))
    assert json.loads(oci.configuration(image, [], machine))["architecture"] == named
