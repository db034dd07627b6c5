"""Whom a SecretId reaches."""

from __future__ import annotations

import asyncio

import pytest

from cloudrec_gateway.kube.cache import App, Key, Shelf, make_app
from cloudrec_gateway.kube.client import Refused, Unavailable
from cloudrec_gateway.kube.keys import Keyring, data_of, directory
from tests.unit.gateway.kube.fakes import SECRETS, FakeKube, app, raw_app, raw_secret, secrets

DEMO = Key("school", "demo-keys")


def test_a_pair_reaches_its_app() -> None:
    entry = directory([app()], {DEMO: secrets(ID="KEY")})["ID"]
    assert entry.credential.secret_key.reveal() == "KEY"
    assert entry.credential.sdk_app_ids == {1400000001}
    assert not entry.credential.allow_unsigned_payload
    assert "KEY" not in repr(entry)
    assert directory([app()], {}) == {}


def test_one_pair_for_two_apps() -> None:
    both = [app(), app("other", 2, 1)]
    entry = directory(both, {DEMO: secrets(ID="KEY"), Key("school", "other-keys"): secrets(ID="KEY", ID2="K2")})
    assert entry["ID"].credential.sdk_app_ids == {1400000001, 2}
    assert entry["ID2"].credential.sdk_app_ids == {2}


def test_a_later_tenant_cannot_take_a_secret_id_over() -> None:
    thief = app("thief", 1400000001, 5, namespace="elsewhere")
    keys = {DEMO: secrets(ID="KEY"), Key("elsewhere", "thief-keys"): secrets(ID="STOLEN", OWN="O")}
    for order in ([app(), thief], [thief, app()]):
        found = directory(order, keys)
        assert found["ID"].credential.secret_key.reveal() == "KEY"
        assert found["ID"].apps[1400000001].key == ("school", "demo")
        # With his own pair he reaches his own app, whatever its SdkAppId.
        assert found["OWN"].apps[1400000001].key == ("elsewhere", "thief")


def test_a_pair_reaches_the_oldest_app_of_an_sdk_app_id() -> None:
    keys = {DEMO: secrets(ID="KEY"), Key("school", "twin-keys"): secrets(ID="KEY")}
    assert directory([app("twin", created=2), app(created=1)], keys)["ID"].apps[1400000001].key.name == "demo"


@pytest.mark.parametrize(("first", "second", "expected"), [(True, True, True), (True, False, False)])
def test_unsigned_payloads_only_where_all_apps_of_a_pair_allow_it(first: bool, second: bool, expected: bool) -> None:
    def allowing(name: str, number: int, allow: bool) -> App:
        ref = {"credentialsSecretRef": {"name": "demo-keys"}, "allowUnsignedPayload": allow}
        return app(name, number, api=ref)

    found = directory([allowing("a", 1, first), allowing("b", 2, second)], {DEMO: secrets(ID="KEY")})
    assert found["ID"].credential.allow_unsigned_payload is expected


def test_data_that_is_no_key_is_left_out() -> None:
    found = raw_secret(ID="KEY\n", EMPTY=" ")
    found["data"] |= {"BINARY": "/w==", "BROKEN": "%"}
    assert {name: value.reveal() for name, value in data_of(found).items()} == {"ID": "KEY"}
    assert data_of({"metadata": {}}) == {}


# --- the keyring ----------------------------------------------------------------------------------------------------


class Ring:
    def __init__(self) -> None:
        self.kube = FakeKube()
        self.apps: Shelf[App] = Shelf(make_app)
        self.keyring = Keyring(self.kube, self.apps, 60)

    def put(self, name: str, **values: str) -> None:
        self.kube.objects[f"{SECRETS}/{name}"] = raw_secret(**values)


@pytest.fixture
def ring() -> Ring:
    made = Ring()
    made.put("demo-keys", ID="KEY")
    made.apps.replace([raw_app(limits={"requestsPerSecond": 7}, userSig={"keySecretRef": {"name": "sig"}})])
    return made


async def test_it_reads_what_apps_name(ring: Ring) -> None:
    assert ring.keyring.entry("ID") is None
    assert not ring.keyring.synced
    await ring.keyring.refresh()
    assert ring.keyring.synced
    assert ring.keyring.entry("ID") is not None
    assert (ring.keyring.rate(1400000001), ring.keyring.rate(5)) == (7, 1)
    (found,) = ring.apps.all()
    assert ring.keyring.user_sig_key(found) is None
    ring.put("sig", key="S" * 64)
    await ring.keyring.refresh()
    key = ring.keyring.user_sig_key(found)
    assert key is not None
    assert key.reveal() == "S" * 64
    assert ring.keyring.user_sig_key(app()) is None


async def test_a_key_that_is_taken_away_is_gone_and_one_that_cannot_be_read_stays(ring: Ring) -> None:
    await ring.keyring.refresh()
    error: Exception = Unavailable(503, "away")

    def failing(method: str, path: str) -> None:
        raise error

    ring.kube.before = failing
    await ring.keyring.refresh()
    assert ring.keyring.entry("ID") is not None
    error = Refused(403, "not for you")
    await ring.keyring.refresh()
    assert ring.keyring.entry("ID") is None


async def test_it_follows_the_apps(ring: Ring) -> None:
    running = asyncio.create_task(ring.keyring.run())

    async def until(holds: object) -> None:
        async with asyncio.timeout(5):
            while not callable(holds) or not holds():
                await asyncio.sleep(0.005)

    await until(lambda: ring.keyring.entry("ID") is not None)
    ring.put("new-keys", NEW="KEY")
    ring.apps.put(raw_app("new", 2))
    await until(lambda: ring.keyring.entry("NEW") is not None)
    ring.apps.drop(raw_app("new", 2))
    await until(lambda: ring.keyring.entry("NEW") is None)
    running.cancel()
