"""`python -m benchmarks`: run all of them, or those that are named."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from benchmarks import callbacks, capture, convert, gateway, mixed, segments

BENCHMARKS: Final = {
    "callbacks": (callbacks.main, callbacks.__doc__ or ""),
    "capture": (capture.main, capture.__doc__ or ""),
    "convert": (convert.main, convert.__doc__ or ""),
    "gateway": (gateway.main, gateway.__doc__ or ""),
    "mixed": (mixed.main, mixed.__doc__ or ""),
    "segments": (segments.main, segments.__doc__ or ""),
}


def main() -> int:
    """Entry point; returns the exit code: 1 when one of them could not be run."""
    listed = "\n".join(f"  {name:10} {doc.splitlines()[0]}" for name, (_, doc) in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Run the project's benchmarks. Each prints one JSON line last.",
        epilog=f"benchmarks:\n{listed}\n\n`python -m benchmarks.NAME --help` tells what one measures.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", help="only these")
    parser.add_argument("--quick", action="store_true", help="short runs: do they still run?")
    options = parser.parse_args()
    if unknown := set(options.name) - BENCHMARKS.keys():
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    arguments = ["--quick"] if options.quick else []
    codes = [run(arguments) for name, (run, _) in BENCHMARKS.items() if name in (options.name or BENCHMARKS)]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
