"""A room's tracks as a scene: order, who is live, sizes, images."""

from __future__ import annotations

from typing import Any

from cloudrec_contract.layout import Source
from cloudrec_contract.mix import Mix
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.mix.arranging import images, scene, sizes, sources, windows
from cloudrec_recorder.rooms import Published


def track(user: str, kind: Any = "video", media: Any = "main", *, muted: bool = False) -> Published:
    return Published(f"{user}-{media}-{kind}", TrackKey(user, media, kind), "H264", muted=muted)


def mix(**changes: Any) -> Mix:
    return Mix.model_validate({"video": {"width": 640, "height": 360}, **changes})


ROOM = [
    track("ann", media="aux"),
    track("ann"),
    track("ann", "audio"),
    track("bob", "audio"),
    track("cleo", "audio"),
    track("cleo", muted=True),
]


def test_streams_are_in_the_order_of_entry_main_before_aux() -> None:
    assert sources(ROOM) == [
        Source("ann", "main", True),
        Source("ann", "aux", True),
        Source("bob", "main", False),
        Source("cleo", "main", False),
    ]


def test_windows_know_their_streams_by_number() -> None:
    shown = windows(mix(), ROOM)
    made = scene(mix(), shown, {TrackKey("ann", "main", "video"): 5})
    assert [(w.left, w.top, w.width, w.height) for w in made.windows] == [
        (0, 0, 320, 180),
        (320, 0, 320, 180),
        (0, 180, 320, 180),
        (320, 180, 320, 180),
    ]
    assert [(w.stream, w.live) for w in made.windows] == [(5, True), (None, True), (None, False), (None, False)]


def test_pictures_are_wanted_as_large_as_their_windows() -> None:
    shown = windows(mix(), ROOM)
    ann = TrackKey("ann", "main", "video")
    assert sizes(shown, smaller=False)[ann] == (320, 180)
    assert sizes(shown, smaller=True)[ann] == (160, 90)


def test_who_has_no_window_is_not_wanted_at_all() -> None:
    custom = mix(
        layout={"template": "Custom", "windows": [{"left": 0, "top": 0, "width": 64, "height": 36, "userId": "bob"}]}
    )
    assert TrackKey("ann", "main", "video") not in sizes(windows(custom, ROOM), smaller=False)


def test_images_that_a_scene_needs() -> None:
    wanted = mix(
        layout={
            "placeholders": True,
            "placeholderImage": "http://x/none.png",
            "backgroundImage": "http://x/back.jpg",
        },
        watermarks=[{"image": {"url": "http://x/mark.png", "left": 0, "top": 0, "width": 9, "height": 9}}],
    )
    found = images(scene(wanted, windows(wanted, ROOM), {}))
    assert {"http://x/back.jpg", "http://x/mark.png"} <= found
    assert found <= {"http://x/back.jpg", "http://x/mark.png", "http://x/none.png"}
    assert images(scene(mix(), windows(mix(), ROOM), {})) == set()
