"""A layout as a picture: SVG, PNG, or characters for a terminal. Pure but for Pillow, which PNG needs."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from cloudrec_contract.layout import Window
from cloudrec_contract.mix import Layout, Position, Watermark

SKETCH_COLUMNS = 76
SKETCH_ROWS = 30
_CELL = 2.0  # a character is about twice as high as it is wide
_CLOCK = "2026-01-31 23:59:59"
_LETTER = 0.6  # of a letter's height is its width, on average


@dataclass(frozen=True, slots=True)
class Box:
    """Something on the canvas, in pixels. Without `fill` it is an outline. `opacity`: 0 to 1."""

    left: int
    top: int
    width: int
    height: int
    label: str
    note: str = ""
    fill: str | None = None
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Boxes from the back to the front."""

    width: int
    height: int
    background: str
    boxes: tuple[Box, ...]


def scene(
    layout: Layout, width: int, height: int, windows: Sequence[Window], watermarks: Sequence[Watermark] = ()
) -> Scene:
    """Each window in a colour of its own, in a dark one where there is no picture; watermarks as outlines."""
    boxes = [
        Box(
            window.left,
            window.top,
            window.width,
            window.height,
            name(window),
            note(window),
            _colour(number, bright=window.source is not None and window.source.picture),
            window.opacity / 255,
        )
        for number, window in enumerate(windows)
    ]
    boxes += [_outline(mark, width, height) for mark in watermarks]
    return Scene(width, height, layout.background_color, tuple(boxes))


def name(window: Window) -> str:
    """Whose window it is."""
    if window.source is None:
        return "nobody"
    return window.source.user_id + (" (screen)" if window.source.media == "aux" else "")


def note(window: Window) -> str:
    """What is there instead of a picture, if anything is."""
    if window.source is not None and window.source.picture:
        return ""
    return "placeholder" if window.placeholder else "no picture"


def _colour(number: int, *, bright: bool) -> str:
    """Neighbours in number are far apart in hue."""
    red, green, blue = colorsys.hls_to_rgb(number * 0.618034 % 1, 0.62 if bright else 0.3, 0.5 if bright else 0.25)
    return f"#{round(red * 255):02X}{round(green * 255):02X}{round(blue * 255):02X}"


def _outline(mark: Watermark, width: int, height: int) -> Box:
    if mark.image:
        it = mark.image
        return Box(it.left, it.top, it.width, it.height, "image")
    if mark.text:
        text = mark.text
        return Box(text.left, text.top, text.width, text.height, text.text.splitlines()[0])
    assert mark.timestamp is not None
    return _clock(mark.timestamp.position, width, height)


def _clock(position: Position, width: int, height: int) -> Box:
    """About where the time is seen: its size is the recorder's matter."""
    letter = max(height // 30, 8)
    wide, high, margin = min(round(len(_CLOCK) * letter * _LETTER), width), letter * 3 // 2, letter // 2
    far = (width - wide - margin, height - high - margin)
    middle = ((width - wide) // 2, (height - high) // 2)
    left, top = {
        Position.TOP_LEFT: (margin, margin),
        Position.TOP_CENTER: (middle[0], margin),
        Position.TOP_RIGHT: (far[0], margin),
        Position.CENTER: middle,
        Position.BOTTOM_LEFT: (margin, far[1]),
        Position.BOTTOM_CENTER: (middle[0], far[1]),
        Position.BOTTOM_RIGHT: far,
    }[position]
    return Box(left, top, wide, high, _CLOCK)


# --- SVG and PNG ----------------------------------------------------------------------------------------------------


def svg(drawn: Scene) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{drawn.width}" height="{drawn.height}" '
        f'viewBox="0 0 {drawn.width} {drawn.height}" font-family="sans-serif">',
        f'<rect width="{drawn.width}" height="{drawn.height}" fill={quoteattr(drawn.background)}/>',
    ]
    for box in drawn.boxes:
        place = f'x="{box.left}" y="{box.top}" width="{box.width}" height="{box.height}"'
        if box.fill:
            lines.append(f'<rect {place} fill="{box.fill}" fill-opacity="{box.opacity:.3f}"/>')
        else:
            lines.append(f'<rect {place} fill="none" stroke="#FFFFFF" stroke-width="2" stroke-dasharray="8 4"/>')
        size = _letters(box, drawn.height)
        for number, text in enumerate(_lines(box)):
            x, y = box.left + size * 0.4, box.top + size * (1.1 + 1.2 * number)
            lines.append(
                f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="#FFFFFF" stroke="#000000" '
                f'stroke-width="{size / 8:.1f}" paint-order="stroke">{escape(text)}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def png(drawn: Scene) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    canvas = Image.new("RGBA", (drawn.width, drawn.height), drawn.background)
    for box in drawn.boxes:
        right, bottom = box.left + box.width - 1, box.top + box.height - 1
        if right < box.left or bottom < box.top:
            continue
        layer = Image.new("RGBA", canvas.size)
        pen = ImageDraw.Draw(layer)
        if box.fill:
            pen.rectangle((box.left, box.top, right, bottom), fill=f"{box.fill}{round(box.opacity * 255):02X}")
        else:
            pen.rectangle((box.left, box.top, right, bottom), outline="#FFFFFF", width=2)
        size = _letters(box, drawn.height)
        pen.multiline_text(
            (box.left + size * 0.4, box.top + size * 0.2),
            "\n".join(_lines(box)),
            fill="#FFFFFF",
            font=ImageFont.load_default(size),
            stroke_width=max(size // 12, 1),
            stroke_fill="#000000",
        )
        canvas.alpha_composite(layer)
    file = io.BytesIO()
    canvas.convert("RGB").save(file, "PNG")
    return file.getvalue()


def _lines(box: Box) -> list[str]:
    return [_printable(text) for text in (box.label, box.note) if text]


def _letters(box: Box, canvas: int) -> int:
    """How high the letters of the label can be, in pixels: it is in the top left corner, as small windows often lie on
    the rest of a large one."""
    texts = _lines(box)
    longest = max((len(text) for text in texts), default=1)
    high, wide = box.height / (1.4 * max(len(texts), 1)), box.width / (_LETTER * (longest + 1))
    return int(max(min(canvas / 20, high, wide), 6))


def _printable(text: str) -> str:
    """XML has no way to write most control characters."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


# --- terminal -------------------------------------------------------------------------------------------------------


def sketch(drawn: Scene) -> str:
    """The windows as boxes of characters; those in front hide what is behind."""
    columns, rows = SKETCH_COLUMNS, round(SKETCH_COLUMNS * drawn.height / drawn.width / _CELL)
    if rows > SKETCH_ROWS:
        columns, rows = round(SKETCH_ROWS * drawn.width / drawn.height * _CELL), SKETCH_ROWS
    columns, rows = max(columns, 8), max(rows, 4)
    cells = [["\N{MIDDLE DOT}"] * columns for _ in range(rows)]
    for box in drawn.boxes:
        left, right = (round(x * columns / drawn.width) for x in (box.left, box.left + box.width))
        top, bottom = (round(y * rows / drawn.height) for y in (box.top, box.top + box.height))
        if box.fill is None or right - left < 2 or bottom - top < 2:
            _write(cells, f"[{_printable(box.label)}]", left, min(top, rows - 1), right)
            continue
        for row in range(top, bottom):
            edge = row in (top, bottom - 1)
            cells[row][left:right] = ["+" if edge else "|", *("-" if edge else " ") * (right - left - 2), "+"]
            if not edge:
                cells[row][right - 1] = "|"
        for row, text in enumerate(_lines(box), min(top + 1, bottom - 1)):
            if row == top + 1 or row < bottom - 1:
                _write(cells, text, left + 1, row, right - 1)
    return "\n".join("".join(row) for row in cells)


def _write(cells: list[list[str]], text: str, left: int, row: int, right: int) -> None:
    """Cut off at the end of its place."""
    shown = text[: max(right - left, 0)]
    cells[row][left : left + len(shown)] = shown
