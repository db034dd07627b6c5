"""The engine's process in `benchmarks.convert`: what the finisher does, and imports, with one recording in a bucket."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cloudrec_contract.spool import ObjectStore
from cloudrec_recorder.convert.bucket import DepotSource
from cloudrec_recorder.convert.engine import NONE, Orders, to_mp4
from cloudrec_recorder.convert.plan import plan
from cloudrec_recorder.finisher.depot import Depot

PREFIX: Final = "benchmark/"
SIGNED: Final = "signed_"
OUT: Final = "ours.mp4"


def main(arguments: Sequence[str]) -> int:
    """`arguments`: endpoint, bucket, folder of the keys, folder for the MP4."""
    endpoint, name, keys, out = arguments
    where = ObjectStore(endpoint=endpoint, region="us-east-1", bucket=name, key_prefix=PREFIX)
    source = DepotSource(Depot(where, Path(keys)))
    sizes = source.sizes()
    names = [each for each in sizes if each.endswith(".m3u8") and not each.startswith(SIGNED)]
    (stream,) = plan({each: source.read(each) for each in names}, sizes).streams
    to_mp4(stream, source, Path(out), Orders(lambda _: OUT, NONE))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
