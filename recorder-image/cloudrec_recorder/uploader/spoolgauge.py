"""How full the spool is. Its high water lies well below the emptyDir's limit, at which the Pod is evicted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from cloudrec_contract.spool import MEDIA

LOOK_SECONDS: Final = 2.0
CLEAR: Final = 0.9
"""Of the high water, below which it counts as over."""

_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)(Ki|Mi|Gi|Ti|k|M|G|T)?")
_UNITS: Final = {
    None: 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
}


def parse_quantity(text: str) -> int:
    """Bytes of a Kubernetes quantity such as 10Gi. Raises ValueError."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"not a quantity of bytes: {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def measure(spool: Path) -> tuple[int, dict[str, int]]:
    """Bytes of all files in the spool, and of each in its media folder by name. Raises OSError."""
    sizes = {path: _size(path) for path in spool.rglob("*")}
    return sum(sizes.values()), {path.name: size for path, size in sizes.items() if path.parent == spool / MEDIA}


def _size(path: Path) -> int:
    try:
        status = path.lstat()
    except FileNotFoundError:  # renamed or deleted meanwhile
        return 0
    return status.st_blocks * 512  # what the kubelet counts
