"""Who is to be seen where: a room's tracks and the task's layout as the composer's scene. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cloudrec_contract.layout import Source, Window, arrange
from cloudrec_contract.mix import Mix
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.mix.wire import Scene, SceneWindow
from cloudrec_recorder.rooms import Published, Size


def sources(tracks: Sequence[Published]) -> list[Source]:
    """Streams in the order of entry, a user's main before the aux; tracks come in the order of their publishers."""
    pictures: dict[tuple[str, str], bool] = {}
    for track in tracks:
        whose = (track.key.user_id, track.key.media)
        pictures[whose] = pictures.get(whose, False) or (track.key.kind == "video" and not track.muted)
    users = list(dict.fromkeys(user for user, _ in pictures))
    found = []
    for user in users:
        for media in ("main", "aux"):
            picture = pictures.get((user, media))
            if picture is not None:
                found.append(Source(user, media, picture))
    return found


def windows(mix: Mix, tracks: Sequence[Published]) -> tuple[Window, ...]:
    """The windows of everybody who has one, from the back to the front."""
    return arrange(mix.layout, mix.video.width, mix.video.height, sources(tracks))


def scene(mix: Mix, shown: Sequence[Window], numbers: Mapping[TrackKey, int]) -> Scene:
    """The scene, with streams by their numbers on the wire; one that has none yet has sent nothing."""
    return Scene(
        windows=[
            SceneWindow(
                left=window.left,
                top=window.top,
                width=window.width,
                height=window.height,
                stream=numbers.get(key) if (key := _key(window)) is not None else None,
                live=window.source is not None and window.source.picture,
                opacity=window.opacity,
                render_mode=window.render_mode,
                placeholder=window.placeholder,
            )
            for window in shown
        ],
        background_color=mix.layout.background_color,
        background_image=mix.layout.background_image,
        background_render_mode=mix.layout.background_render_mode,
        watermarks=mix.watermarks,
    )


def sizes(shown: Sequence[Window], *, smaller: bool) -> dict[TrackKey, Size]:
    """How large each picture is needed: the largest of its windows, or half of that."""
    found: dict[TrackKey, Size] = {}
    for window in shown:
        key = _key(window)
        if key is not None:
            width, height = found.get(key, (0, 0))
            found[key] = max(width, window.width), max(height, window.height)
    return {key: (width // 2, height // 2) for key, (width, height) in found.items()} if smaller else found


def images(scene: Scene) -> set[str]:
    """URLs of all images that the scene needs."""
    found = {window.placeholder for window in scene.windows} | {scene.background_image}
    found |= {mark.image.url for mark in scene.watermarks if mark.image is not None}
    return {url for url in found if url}


def _key(window: Window) -> TrackKey | None:
    source = window.source
    return None if source is None else TrackKey(source.user_id, source.media, "video")
