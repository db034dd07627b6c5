"""Single mode's `Writer`: the segmenter, and what is to be told of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence, Set

from cloudrec_contract.conditions import Reason
from cloudrec_contract.spool import Task
from cloudrec_recorder.media import TrackKey
from cloudrec_recorder.rooms import Published
from cloudrec_recorder.segments.segmenter import Segmenter
from cloudrec_recorder.writing import codecs, some

logger = logging.getLogger(__name__)


class SingleWriter(Segmenter):
    """Every user apart, or sound and picture of each merged."""

    fault = ""

    def sizes(self) -> None:
        """Pictures are recorded as they are."""
        return

    def arrange(self, tracks: Sequence[Published], task: Task) -> None:
        """Merged sound waits for pictures that are to come."""
        self.expect({track.key for track in tracks if not track.muted})

    def conditions(self, published: Set[TrackKey] | None) -> Iterator[tuple[Reason, str]]:
        unsupported = codecs(self.unsupported, published)
        yield Reason.CODEC_UNSUPPORTED, f"not recorded: {some(unsupported)}" if unsupported else ""
        transcoded = codecs(self.transcoded, published)
        yield Reason.TRANSCODED, f"transcoded to H.264: {some(transcoded)}" if transcoded else ""
        behind = sorted(f"{key.user_id} ({key.media})" for key in self.transcoding_behind)
        if self.audio_behind:
            behind.insert(0, "everybody's sound")
        yield Reason.TRANSCODE_OVERLOAD, f"media is being left out: {some(behind)}" if behind else ""
        slow = "the spool's disk is behind: media is being left out" if self.overloaded else ""
        yield Reason.SLOW_DISK, slow

    def figures(self) -> dict[str, float]:
        return {"units": self.units, "left_out": self.left_out + self.audio_left_out}

    async def run(self) -> None:
        """Nothing beside: media is written as it comes."""

    async def drain(self, timeout: float) -> bool:
        """Sound first: pictures may come behind it."""
        self.stop(0.0)
        sound = await asyncio.to_thread(self.wait_for_sound, timeout)
        self.stop(0.0)
        return await asyncio.to_thread(self.settle, timeout) and sound

    def finish(self) -> None:
        super().finish()
        if self.left_out:
            logger.warning("%d access units were left out: the disk was behind", self.left_out)
        if self.audio_left_out:
            logger.warning("%d packets were left out: transcoding was behind", self.audio_left_out)
