"""What became of it all, in a line. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cloudrec_contract.conditions import Reason
from cloudrec_contract.finish import Output
from cloudrec_contract.resources import Conversion
from cloudrec_recorder.uploader.state import MESSAGE


def verdict(outputs: Sequence[Output], kept: str, error: str) -> Conversion:
    """`kept`: why HLS is there that should not be; `error`: why it was not even tried. Empty when it is not so."""
    failed = [output for output in outputs if output.failed]
    files = sum(len(output.files) for output in outputs)
    made = f"{files} file{'' if files == 1 else 's'}"
    flaws = [f"{_name(output)}: {fault}" for output in outputs for fault in output.faults]
    partly = f"; not in them: {flaws[0]}" + (f" and {len(flaws) - 1} more" if len(flaws) > 1 else "") if flaws else ""
    again = [f"{_name(output)}: {why}" for output in outputs for why in output.reencoded]
    if error:
        reason, message = Reason.CONVERT_FAILED, error
    elif failed:
        reason = Reason.CONVERT_FAILED
        message = "; ".join(f"{_name(output)}: {next(iter(output.faults), 'it failed')}" for output in failed)
    elif kept:
        reason, message = Reason.HLS_KEPT, f"{made}{partly}; playlists and segments stay: {kept}"
    elif not files:
        reason, message = Reason.NOTHING_TO_CONVERT, "nothing was recorded"
    elif again:
        reason, message = Reason.REENCODED, f"{made}{partly}; encoded anew: {'; '.join(again)}"
    else:
        reason, message = Reason.REMUXED, f"{made}{partly}"
    return Conversion(
        reason=reason,
        message=message[:MESSAGE],
        percent=100,
        done=True,
        files=files,
        failed=len({(output.user_id, output.media) for output in failed}),
    )


def _name(output: Output) -> str:
    return f"{output.format} of {f'{output.user_id} ({output.media})' if output.user_id else 'the mixed recording'}"
