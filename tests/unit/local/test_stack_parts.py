"""The stack without its processes: folders, locks, certificates, configuration, manifests, commands."""

from __future__ import annotations

import json
import re
import ssl
import threading
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509

from cloudrec_local import install, pki
from cloudrec_local.cli import main
from cloudrec_local.components import bucket, livekit, receiver
from cloudrec_local.components.agent import image_table
from cloudrec_local.components.controlplane import control_plane
from cloudrec_local.errors import MissingToolError, StackError
from cloudrec_local.home import Home, cache_folder, example, locked, manifests, stack_folder, tool
from cloudrec_local.node.agent import Addresses
from cloudrec_local.node.server import tail_position
from cloudrec_local.stack import Stack, base_environment
from cloudrec_local.state import PARTS, SDK_APP_ID, Image, StackState, free_ports, new_state, with_needs
from cloudrec_local.status import describe, environment


@pytest.fixture
def state() -> StackState:
    return new_state("x", "1.2.3", PARTS, {"test/tools:1": Image(path=("/p",))})


def test_folders_follow_the_environment() -> None:
    assert cache_folder({"CLOUDREC_CACHE": "/c"}) == Path("/c")
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/cloudrec")
    assert cache_folder({}) == Path.home() / ".cache/cloudrec"
    assert stack_folder("a", {"CLOUDREC_HOME": "/h"}) == Path("/h/a")
    assert stack_folder("a", {"XDG_STATE_HOME": "/x"}) == Path("/x/cloudrec/a")
    assert stack_folder("a", {}) == Path.home() / ".local/state/cloudrec/a"


@pytest.mark.parametrize("name", ["", "../x", "A", "-a", "a/b", "a" * 33])
def test_names_that_are_no_names(name: str) -> None:
    with pytest.raises(StackError):
        stack_folder(name, {})


def test_missing_tool_is_named_with_the_command_that_gets_it() -> None:
    with pytest.raises(MissingToolError) as caught:
        tool("no-such-tool", {"PATH": "/none"})
    assert "no-such-tool" in caught.value.message
    assert caught.value.hint.startswith("uv sync")


def test_lock_waits_for_its_holder_and_notices_a_removed_file(tmp_path: Path) -> None:
    path = tmp_path / "home" / "lock"
    inside = threading.Event()
    order: list[str] = []

    def second() -> None:
        inside.set()
        with locked(path, 10):
            order.append("second")

    with locked(path, 10):
        thread = threading.Thread(target=second)
        thread.start()
        inside.wait(5)
        order.append("first")
        path.parent.rename(tmp_path / "removed")  # at once: the second may make another at any moment
    thread.join(10)
    assert order == ["first", "second"]
    assert path.exists()


def test_lock_has_a_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "lock"
    with (
        locked(path, 1),
        pytest.raises(StackError, match="another process"),
        locked(path, 0.2, waiting="waiting for it"),
    ):
        pass
    assert capsys.readouterr().err == "waiting for it\n"


def test_parts_bring_what_they_need_in_starting_order() -> None:
    assert with_needs(["node"]) == ("api", "node")
    assert with_needs(["operator"]) == ("api", "livekit", "bucket", "node", "operator")
    assert with_needs(["gateway", "receiver"]) == PARTS
    assert "receiver" not in with_needs(["gateway"])
    assert with_needs(["bucket", "livekit"]) == ("livekit", "bucket")
    with pytest.raises(StackError, match="moon"):
        with_needs(["moon"])  # type: ignore[list-item]


def test_ports_are_free_and_all_different() -> None:
    ports = free_ports(str(n) for n in range(50))
    assert len(set(ports.values())) == 50


def test_state_keeps_its_secrets_in_its_file_and_out_of_its_repr(state: StackState, tmp_path: Path) -> None:
    path = tmp_path / "stack.json"
    state.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert StackState.load(path) == state
    assert state.livekit_secret.get_secret_value() in path.read_text()
    assert state.livekit_secret.get_secret_value() not in repr(state)
    assert state.s3_secret_key.get_secret_value() not in repr(state)
    assert state.gateway_secret_key.get_secret_value() not in repr(state)
    assert state.callback_key.get_secret_value() not in repr(state)
    assert StackState.load(tmp_path / "none") is None
    path.write_text('{"name": "old"}')
    with pytest.raises(StackError, match="another version"):
        StackState.load(path)


def test_certificates_verify_and_name_their_owners(tmp_path: Path) -> None:
    pki.create(tmp_path, "node-1")
    authority = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    node = x509.load_pem_x509_certificate((tmp_path / "node.crt").read_bytes())
    node.verify_directly_issued_by(authority)
    assert node.subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"
    etcd = x509.load_pem_x509_certificate((tmp_path / "etcd-client.crt").read_bytes())
    with pytest.raises(ValueError):
        etcd.verify_directly_issued_by(authority)  # a client of the cluster is none of etcd
    for path in tmp_path.glob("*.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "ca.key").exists()
    ssl.create_default_context(cafile=str(tmp_path / "ca.crt")).load_cert_chain(
        tmp_path / "admin.crt", tmp_path / "admin.key"
    )
    pki.write_kubeconfig(tmp_path / "config", "https://127.0.0.1:1", tmp_path, "admin")
    config = yaml.safe_load((tmp_path / "config").read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:1"
    assert (tmp_path / "config").stat().st_mode & 0o777 == 0o600


def test_livekit_listens_on_loopback_with_its_own_key(state: StackState) -> None:
    config = yaml.safe_load(livekit.configuration(state))
    assert config["bind_addresses"] == ["127.0.0.1"]
    assert config["keys"] == {state.livekit_key: state.livekit_secret.get_secret_value()}
    assert config["rtc"]["enable_loopback_candidate"] is True
    assert config["rtc"]["udp_port"] == state.ports["livekit-udp"]


def test_bucket_has_one_identity_and_no_secret_on_its_command_line(state: StackState, tmp_path: Path) -> None:
    component = bucket.bucket(state, Home(tmp_path), Path("/bin/weed"))
    (content,) = component.files.values()
    (identity,) = json.loads(content)["identities"]
    assert identity["credentials"] == [
        {"accessKey": state.s3_access_key, "secretKey": state.s3_secret_key.get_secret_value()}
    ]
    assert state.s3_secret_key.get_secret_value() not in " ".join(component.argv)
    assert len(bucket.leftovers(state)) == 4


def test_control_plane_is_bound_to_loopback_and_starts_in_order(state: StackState, tmp_path: Path) -> None:
    parts = {c.name: c for c in control_plane(state, Home(tmp_path), Path("/bin/kube"))}
    assert list(parts) == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    assert "--bind-address=127.0.0.1" in parts["kube-apiserver"].argv
    assert "--authorization-mode=Node,RBAC" in parts["kube-apiserver"].argv
    assert "--anonymous-auth=false" in parts["kube-apiserver"].argv
    assert parts["kube-scheduler"].after == ("kube-apiserver",)
    for component in parts.values():
        assert "0.0.0.0" not in " ".join(component.argv)


def test_image_table_has_our_images_and_the_given(state: StackState) -> None:
    table = image_table(state)
    assert set(table) == {*(f"cloudrec/{name}:1.2.3" for name in ("recorder", "operator", "gateway")), "test/tools:1"}


def test_templates_refuse_unknown_names(state: StackState) -> None:
    rendered = install.render("a: '${livekit_url}'\n---\n---\nb: 1\n", install.values(state))
    assert rendered == [{"a": state.livekit_url}, {"b": 1}]
    with pytest.raises(KeyError):
        install.render("${none}", install.values(state))


def test_sample_application_is_what_the_contract_asks_for(state: StackState) -> None:
    from cloudrec_contract.resources import RecordingAppSpec

    sample = {(r["kind"], r["metadata"]["name"]): r for r in install.sample(state)}
    spec = RecordingAppSpec.model_validate(sample["RecordingApp", "demo"]["spec"])
    assert spec.room.livekit.url == state.livekit_url
    assert spec.storage.endpoints[0].endpoint == state.s3_url
    assert set(sample["Secret", "livekit"]["stringData"]) == {"apiKey", "apiSecret"}
    assert set(sample["Secret", "bucket"]["stringData"]) == {"accessKey", "secretKey"}
    assert spec.api is not None
    pair = sample["Secret", spec.api.credentials_secret_ref.name]["stringData"]
    assert pair == {state.gateway_secret_id: state.gateway_secret_key.get_secret_value()}
    assert spec.sdk_app_id == SDK_APP_ID
    assert spec.callback is not None
    assert spec.callback.key_secret_ref is not None
    assert (spec.callback.url, spec.callback.allow_private_addresses) == (state.callback_url, True)
    key = sample["Secret", spec.callback.key_secret_ref.name]["stringData"]
    assert key == {"key": state.callback_key.get_secret_value()}
    without = state.model_copy(update={"parts": with_needs(["gateway"])})
    (app,) = (found for found in install.sample(without) if found["kind"] == "RecordingApp")
    assert "callback" not in app["spec"]


def test_receiver_has_its_key_in_a_file_and_not_on_its_command_line(state: StackState, tmp_path: Path) -> None:
    made = receiver.receiver(state, Home(tmp_path))
    secret = state.callback_key.get_secret_value()
    assert list(made.files.values()) == [secret]
    assert secret not in " ".join(made.argv)
    assert f"--port={state.ports['receiver']}" in made.argv


def test_the_environment_of_the_sdks_example(state: StackState, tmp_path: Path) -> None:
    found = environment(describe(state, Home(tmp_path), {}))
    wanted = set(re.findall(r"CLOUDREC_[A-Z_]+", example("sdk_python.py").read_text()))
    assert set(found) == wanted - {"CLOUDREC_USER_SIG"}
    assert found["CLOUDREC_ENDPOINT"] == f"127.0.0.1:{state.ports['gateway']}"
    assert found["CLOUDREC_SECRET_KEY"] == state.gateway_secret_key.get_secret_value()
    few = describe(state.model_copy(update={"parts": ("livekit",)}), Home(tmp_path), {})
    assert environment(few) == {}


def test_operator_gets_an_address_and_a_port_of_its_own() -> None:
    container = {
        "name": "operator",
        "env": [{"name": "CLOUDREC_HEALTH_PORT", "value": "8080"}, {"name": "KEPT", "value": "x"}],
        "ports": [{"name": "health", "containerPort": 8080}],
    }
    deployment = {"spec": {"template": {"spec": {"containers": [container]}}}}
    adapted = install.on_loopback(deployment, 4711)["spec"]["template"]["spec"]["containers"][0]
    env = {entry["name"]: entry for entry in adapted["env"]}
    assert env["CLOUDREC_HEALTH_PORT"]["value"] == "4711"
    assert env["CLOUDREC_HEALTH_HOST"]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert env["KEPT"]["value"] == "x"
    assert adapted["ports"][0]["containerPort"] == 4711
    assert container["ports"][0]["containerPort"] == 8080


def test_gateway_gets_an_address_that_stays() -> None:
    (deployment,) = (
        document
        for path in manifests()
        for document in install.documents(path.read_text())
        if (document["kind"], document["metadata"]["name"]) == ("Deployment", "cloudrec-gateway")
    )
    adapted = install.on_this_host(deployment, 4711)["spec"]
    assert (adapted["replicas"], adapted["template"]["spec"]["hostNetwork"]) == (1, True)
    (container,) = adapted["template"]["spec"]["containers"]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (env["CLOUDREC_PORT"], env["CLOUDREC_SERVICE"]) == ("4711", "")
    assert container["ports"][0]["containerPort"] == 4711


def test_pod_addresses_are_given_once_and_again() -> None:
    addresses = Addresses(port=0x1234)
    assert [addresses.give("a"), addresses.give("b")] == ["127.18.52.1", "127.18.52.2"]
    addresses.free("a")
    assert addresses.give("c") == "127.18.52.1"
    assert addresses.give("d", "127.18.52.9") == "127.18.52.9"
    assert addresses.give("e", "127.18.52.9") == "127.18.52.3"


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        ("", 1, ""),
        ("a\nb\nc\n", 1, "c\n"),
        ("a\nb\nc\n", 2, "b\nc\n"),
        ("a\nb\nc", 1, "c"),
        ("a\nb\nc", 9, "a\nb\nc"),
        ("a\nb\n", 0, ""),
        ("x" * 70_000 + "\n" + "y" * 70_000 + "\nz\n", 2, "y" * 70_000 + "\nz\n"),
    ],
)
def test_tail_of_a_log(tmp_path: Path, content: str, lines: int, expected: str) -> None:
    path = tmp_path / "log"
    path.write_text(content)
    assert content[tail_position(path, lines) :] == expected


def test_processes_get_no_secrets_and_no_proxies_of_ours() -> None:
    environ = {"PATH": "p", "HTTPS_PROXY": "x", "AWS_SECRET_ACCESS_KEY": "x", "KUBECONFIG": "x", "TZ": "UTC"}
    assert base_environment(environ) == {"PATH": "p", "TZ": "UTC"}


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    stack = Stack("x", home=tmp_path, components=["livekit"])
    with pytest.raises(StackError, match="no stack's"):
        stack.up()
    with pytest.raises(StackError, match="nothing was removed"):
        stack.down()
    assert (tmp_path / "thesis.txt").exists()


def test_commands_without_a_stack_say_so(tmp_path: Path) -> None:
    runner = CliRunner(env={"CLOUDREC_HOME": str(tmp_path / "none")})
    for command in (["status"], ["status", "--json"], ["kubectl", "get", "pods"]):
        result = runner.invoke(main, command)
        assert result.exit_code == 1
        assert "there is no stack called 'default'" in result.stderr
        assert "cloudrec up" in result.stderr
    assert runner.invoke(main, ["down"]).output == "there was no stack 'default'\n"
    assert not (tmp_path / "none").exists()


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for command in ("up", "down", "status", "kubectl", "publish", "demo", "callbacks"):
        assert f"\n  {command} " in result.output
