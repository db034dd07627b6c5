"""Plans, the command line, and the child process where there is no server; a real one is for the media tests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from cloudrec_contract.secret import Secret
from cloudrec_local.publish import publish
from cloudrec_local.synthetic.plan import Action, Command, Do, Plan, Step, UserPlan, standard_plan
from cloudrec_local.synthetic.process import SyntheticUsers
from cloudrec_local.synthetic.server import PublishError, Server, without_tokens
from cloudrec_local.synthetic.session import Session

CANARY = "a-secret-that-must-not-be-seen-anywhere"


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody else is given and nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_the_standard_plan() -> None:
    plan = standard_plan(3, 20, width=1280, height=720, fps=30)
    assert [(user.identity, user.number) for user in plan.users] == [("user-1", 1), ("user-2", 2), ("user-3", 3)]
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)) == plan


def test_what_a_step_without_kind_means() -> None:
    assert Do(do="publish").kinds == ("audio", "video")
    assert Do(do="publish", media="aux").kinds == ("video",)
    assert Do(do="mute", media="aux", kind="audio").kinds == ("audio",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"identity": "", "number": 1},
        {"identity": "a", "number": 0},
        {"identity": "a", "number": 128},
        {"identity": "a", "number": 1, "width": 160},
        {"identity": "a", "number": 1, "width": 641},
        {"identity": "a", "number": 1, "width": 640, "height": 100},
        {"identity": "a", "number": 1, "fps": 0},
        {"identity": "a", "number": 1, "colour": "red"},
        {"identity": "a", "number": 1, "steps": [{"do": "publish", "at": 2}, {"do": "join", "at": 1}]},
        {"identity": "a", "number": 1, "steps": [{"do": "dance"}]},
    ],
)
def test_a_wrong_user_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        UserPlan.model_validate(wrong)


def test_two_users_cannot_be_the_same() -> None:
    user = UserPlan(identity="a", number=1, steps=(Step(do="join"),))
    with pytest.raises(ValidationError, match="same identity"):
        Plan(users=(user, user))


def test_help_is_friendly() -> None:
    result = CliRunner().invoke(publish, ["--help"])
    assert result.exit_code == 0
    for word in ("--room", "--users", "--seconds", "Ctrl-C", "--plan"):
        assert word in result.output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--url", "ws://127.0.0.1:1"], "go together"),
        (["--url", "ws://127.0.0.1:1", "--key", "k", "--secret", CANARY, "--size", "big"], "WIDTHxHEIGHT"),
        (["--url", "ws://127.0.0.1:1", "--key", "k", "--secret", CANARY, "--size", "100x100"], "320"),
        (["--users", "0"], "0 is not in the range"),
        (["--seconds", "0"], "0"),
    ],
)
def test_wrong_arguments_are_told(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(publish, arguments)
    assert result.exit_code == 2
    assert complaint in result.output
    assert CANARY not in result.output


def test_a_wrong_plan_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"users": []}))
    server = ["--url", "ws://127.0.0.1:1", "--key", "k", "--secret", CANARY]
    result = CliRunner().invoke(publish, [*server, "--plan", str(file)])
    assert result.exit_code == 2
    assert "users" in result.output


def test_a_refused_token_is_struck_out() -> None:
    token = jwt.encode({"sub": "user-1"}, CANARY, algorithm="HS256")
    assert without_tokens(f"401: invalid token: {token}, bad") == "401: invalid token: ***, bad"


def test_a_server_never_shows_its_secret() -> None:
    assert CANARY not in repr(Server("ws://127.0.0.1:1", "k", Secret(CANARY)))


async def test_an_unreachable_server_is_told(closed_port: int) -> None:
    server = Server(f"ws://127.0.0.1:{closed_port}", "k", Secret(CANARY))
    async with SyntheticUsers(server, "room", standard_plan(1)) as users:
        with pytest.raises(PublishError, match="user-1 cannot join 'room'") as caught:
            await users.published(timeout=60)
    assert CANARY not in str(caught.value)


NOWHERE = Server("ws://127.0.0.1:1", "k", Secret(CANARY))
IDLE = UserPlan(identity="a", number=1, steps=())


async def test_a_plan_that_does_nothing_ends() -> None:
    truth = await Session(NOWHERE, "room", Plan(users=(IDLE,), seconds=0.1)).run()
    assert (truth.events, truth.tracks) == ((), ())
    assert truth.ended - truth.started >= 0.1


async def test_a_session_is_stopped() -> None:
    session = Session(NOWHERE, "room", Plan(users=(IDLE,), seconds=60))
    session.stop()
    truth = await session.run()
    assert truth.ended - truth.started < 10


async def test_a_stranger_cannot_be_told_to_do_anything() -> None:
    session = Session(NOWHERE, "room", Plan(users=(IDLE,)))
    with pytest.raises(PublishError, match="there is no user 'b'"):
        session.command(Command(user="b", do="join"))


async def test_a_user_takes_only_so_many_commands() -> None:
    session = Session(NOWHERE, "room", Plan(users=(IDLE,)))
    command = Command(user="a", do="join")
    for _ in range(64):
        session.command(command)
    with pytest.raises(PublishError, match="too much to do"):
        session.command(command)


@pytest.mark.parametrize("action", ["leave", "publish", "unpublish", "mute", "unmute"])
async def test_who_is_not_in_the_room_cannot_do_much(action: Action) -> None:
    session = Session(NOWHERE, "room", Plan(users=(UserPlan(identity="a", number=1, steps=(Step(do=action),)),)))
    with pytest.raises(PublishError, match="a is not in the room"):
        await session.run()
