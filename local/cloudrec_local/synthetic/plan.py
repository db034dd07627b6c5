"""What synthetic users do, and when: declared, so that a test reads like the story it tells."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cloudrec_contract.model import Model
from cloudrec_local.synthetic.code import MAX_USER, MIN_WIDTH, strip_height

Media = Literal["main", "aux"]
Kind = Literal["audio", "video"]
Action = Literal["join", "leave", "publish", "unpublish", "mute", "unmute"]


class Do(Model):
    """One thing to do. `media` main is camera and microphone, aux is the screen and its sound; no `kind` means both
    of main, and of aux the picture alone. `join` and `leave` look at neither."""

    do: Action
    media: Media = "main"
    kind: Kind | None = None

    @property
    def kinds(self) -> tuple[Kind, ...]:
        if self.kind is not None:
            return (self.kind,)
        return ("audio", "video") if self.media == "main" else ("video",)


class Step(Do):
    """`at`: seconds since the plan began."""

    at: float = Field(0.0, ge=0)


STANDARD_STEPS = (Step(do="join"), Step(do="publish"))


class UserPlan(Model):
    """One user. `number` is what the picture's code and the beep's pitch carry; steps are done in their order."""

    identity: str = Field(min_length=1)
    number: int = Field(ge=1, le=MAX_USER)
    steps: tuple[Step, ...] = STANDARD_STEPS
    width: int = Field(640, ge=MIN_WIDTH, multiple_of=2)
    height: int = Field(360, ge=2, multiple_of=2)
    fps: int = Field(15, ge=1, le=60)
    codec: Literal["H264", "VP8", "VP9", "AV1"] = "H264"
    simulcast: bool = False
    dtx: bool = Field(False, description="send nothing while the microphone is silent; the SDK's own default is on")

    @model_validator(mode="after")
    def _room_for_code(self) -> Self:
        if self.height < 2 * strip_height(self.width):
            raise ValueError(f"{self.width}x{self.height} is too flat for the picture's code")
        return self

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        times = [step.at for step in self.steps]
        if times != sorted(times):
            raise ValueError(f"{self.identity}: steps are out of order")
        return self


class Plan(Model):
    """All users of one room. It ends after `seconds`, or when it is told to where that is not given."""

    users: tuple[UserPlan, ...] = Field(min_length=1)
    seconds: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len({user.identity for user in self.users}) < len(self.users):
            raise ValueError("two users have the same identity: one would put the other out of the room")
        return self


class Command(Do):
    """A step that is done at once, on demand."""

    user: str


def standard_plan(
    users: int = 2, seconds: float | None = None, *, width: int = 640, height: int = 360, fps: int = 15
) -> Plan:
    """`user-1` to `user-<users>`, who join at once and publish camera and microphone to the end."""
    return Plan(
        users=tuple(
            UserPlan(identity=f"user-{number}", number=number, width=width, height=height, fps=fps)
            for number in range(1, users + 1)
        ),
        seconds=seconds,
    )
