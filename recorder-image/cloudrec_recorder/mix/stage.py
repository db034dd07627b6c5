"""From the scene and the sources' pictures to the canvas' layers: what each window shows, scaled once a change."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from operator import is_
from typing import Final

import av
from av.error import FFmpegError

from cloudrec_contract.mix import Fill, MixVideo
from cloudrec_recorder.mix.canvas import (
    BLACK,
    NOTHING,
    Canvas,
    Field,
    Layer,
    Overlay,
    Picture,
    mark,
    yuv,
)
from cloudrec_recorder.mix.decoding import Source
from cloudrec_recorder.mix.images import decode
from cloudrec_recorder.mix.placing import Rect
from cloudrec_recorder.mix.scaling import Scaler, still_picture
from cloudrec_recorder.mix.wire import Scene, SceneWindow

logger = logging.getLogger(__name__)

SIDE_LEAST: Final = 2


class Stage:
    """The canvas with the scene on it. `sources` are by their streams' numbers."""

    def __init__(self, video: MixVideo, fill: Fill, sources: dict[int, Source]) -> None:
        self.canvas = Canvas(video.width, video.height)
        self._fill = fill
        self._sources = sources
        self._images: dict[str, av.VideoFrame] = {}
        self._scene = Scene()
        self._windows: list[_Window] = []
        self._overlays: Sequence[Overlay] = ()
        self._background: list[Layer] = [Field(self.canvas.rect, BLACK)]
        self._all_dirty = True

    @property
    def streams(self) -> set[int]:
        """Those that windows show."""
        return {window.spec.stream for window in self._windows if window.spec.stream is not None}

    def show(self, scene: Scene) -> None:
        """From the next frame on."""
        self._scene = scene
        old: dict[Hashable, list[_Window]] = {}
        for window in self._windows:
            old.setdefault(window.kind, []).append(window)
        self._windows = []
        for spec in scene.windows:
            rect = Rect.sized(spec.left, spec.top, spec.width, spec.height).within(self.canvas.rect).shrunk_to_even()
            if rect.width < SIDE_LEAST or rect.height < SIDE_LEAST:
                continue
            window = _Window(spec, rect)
            same = old.get(window.kind)
            if same:
                window.take_over(same.pop())
            self._windows.append(window)
        wanted = {url for spec in scene.windows if (url := spec.placeholder)} | {scene.background_image}
        self._images = {url: image for url, image in self._images.items() if url in wanted}
        self._find_alone()
        self._draw_background()

    def image(self, url: str, data: bytes) -> bool:
        """What was found at the URL of a placeholder or a background; False when it is of no use."""
        try:
            self._images[url] = still_picture(decode(data))
        except (FFmpegError, ValueError, MemoryError) as error:
            logger.warning("an image cannot be used: %s", error, extra={"url": url})
            return False
        if url == self._scene.background_image:
            self._draw_background()
        return True

    def wants(self, url: str) -> bool:
        """The scene has a place for it."""
        scene = self._scene
        return url == scene.background_image or any(url == window.placeholder for window in scene.windows)

    def refresh(self, until: float, overlays: Sequence[Overlay]) -> bool:
        """Decode what is shown up to this time (s), and draw what has changed; whether anything has."""
        dirty = self._changed_overlays(overlays)
        drawn = False
        for window in self._windows:
            number = window.spec.stream
            source = None if number is None else self._sources.get(number)
            if source is not None:
                # scaled and drawn right after: the next one's pictures drive this one's from the processor's cache
                source.advance(until)
            if not self._refresh(window, source):
                continue
            layer = window.layer
            if window.alone and layer is not None and layer.opaque:
                layer.draw(self.canvas.planes, window.rect)
                drawn = True
            else:
                dirty.append(window.rect)
        for source in self._sources.values():  # those that no window shows
            source.advance(until)
        if self._all_dirty:
            dirty = [self.canvas.rect]
            self._all_dirty = False
        if dirty:
            self.canvas.draw(self._layers(), dirty)
        return drawn or bool(dirty)

    def _changed_overlays(self, overlays: Sequence[Overlay]) -> list[Rect]:
        """Where they are not what they were."""
        before, after = self._overlays, tuple(overlays)
        if len(before) == len(after) and all(map(is_, before, after)):
            return []
        self._overlays = after
        self._find_alone()
        kept = {id(each) for each in before} & {id(each) for each in after}
        if [id(each) for each in before if id(each) in kept] != [id(each) for each in after if id(each) in kept]:
            return [self.canvas.rect]  # their order is another
        return [mark(each).rect for each in (*before, *after) if id(each) not in kept]

    def _layers(self) -> list[Layer]:
        windows: Iterable[Layer] = (window.layer for window in self._windows if window.layer is not None)
        return [*self._background, *windows, *(mark(each) for each in self._overlays)]

    def _find_alone(self) -> None:
        """Which windows have nothing above or behind them but the background."""
        others = [mark(each).rect for each in self._overlays]
        for window in self._windows:
            around = [each.rect for each in self._windows if each is not window]
            window.alone = not any(window.rect.meets(rect) for rect in (*around, *others))

    def _refresh(self, window: _Window, source: Source | None) -> bool:
        """Whether it shows something else now."""
        content, load = self._content(window.spec, source)
        if content == window.content:
            return False
        window.content = content
        window.show(load)
        return True

    def _content(self, spec: SceneWindow, source: Source | None) -> tuple[Hashable, _Load]:
        """What the window is to show, by a name that changes with it, and how it is had."""
        frame = None if source is None else source.frame
        image = None if spec.placeholder is None else self._images.get(spec.placeholder)
        if spec.live and source is not None and frame is not None:
            return ("picture", source.number, source.version), frame
        if image is not None:
            return ("image", spec.placeholder, id(image)), image
        if spec.live or spec.stream is None:
            return None, None
        if self._fill is Fill.BLACK:
            return "black", BLACK
        if source is None or frame is None:
            return None, None
        return ("picture", source.number, source.version), frame

    def _draw_background(self) -> None:
        scene = self._scene
        rect = self.canvas.rect
        colour = yuv(scene.background_color)
        self._background = [Field(rect, colour)]
        image = None if scene.background_image is None else self._images.get(scene.background_image)
        if image is not None:
            planes, at = Scaler().scale(image, (rect.width, rect.height), scene.background_render_mode)
            self._background.append(Picture(rect, at, planes, bars=colour))
        self._all_dirty = True


_Load = av.VideoFrame | tuple[int, int, int] | None


class _Window:
    """A window of the scene and what is in it. `alone`: nothing else but the background is where it is."""

    def __init__(self, spec: SceneWindow, rect: Rect) -> None:
        self.spec = spec
        self.rect = rect
        self.kind: Hashable = (spec.stream, rect.width, rect.height, spec.render_mode, spec.placeholder)
        self.content: Hashable = None
        self.alone = False
        self.layer: Layer | None = None
        self._scaler = Scaler()

    def take_over(self, other: _Window) -> None:
        """What a window of the same kind has shown, maybe elsewhere."""
        self.content = other.content
        self._scaler = other._scaler
        match other.layer:
            case Picture(rect, at, planes):
                moved = at.moved(self.rect.left - rect.left, self.rect.top - rect.top)
                self.layer = Picture(self.rect, moved, planes, self.spec.opacity)
            case None:
                pass
            case _:
                self.content = None  # it is drawn anew

    def show(self, load: _Load) -> None:
        if load is None:
            self.layer = None
        elif isinstance(load, tuple):
            self.layer = Picture(self.rect, Rect(0, 0, 0, 0), NOTHING, self.spec.opacity, load)
        else:
            try:
                planes, at = self._scaler.scale(load, (self.rect.width, self.rect.height), self.spec.render_mode)
            except (FFmpegError, ValueError) as error:  # a strange pixel format: what was there stays
                logger.warning("a picture cannot be scaled: %s", error, extra={"stream": self.spec.stream})
                return
            self.layer = Picture(self.rect, at.moved(self.rect.left, self.rect.top), planes, self.spec.opacity)
