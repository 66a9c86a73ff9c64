"""What counts as a signal: a measured consequence of one decision, in [0, 1]. Checked before anything is stored."""

from __future__ import annotations

import re
from enum import StrEnum

from .errors import OutOfRange


class SignalKind(StrEnum):
    """`quality` is measured by a scorer and closes the join; `rating` is a user's vote."""

    QUALITY = "quality"
    RATING = "rating"


_SOURCE = re.compile(r"[A-Za-z0-9_.:@/-]{1,128}")


def check_signal(kind: object, value: object, source: object) -> tuple[SignalKind, float, str]:
    """The signal with its types narrowed, or OutOfRange saying what was given and what is allowed.

    A value is an int or a float in [0, 1]: no bool, NaN, infinity, null or text, whatever it spells.
    """
    if kind not in (SignalKind.QUALITY, SignalKind.RATING):
        raise OutOfRange(f"signal kind {_shown(kind)} is not known; allowed: quality, rating")
    if not isinstance(source, str) or not _SOURCE.fullmatch(source):
        raise OutOfRange(
            f"signal source {_shown(source)} is not allowed; allowed: 1 to 128 letters, digits and any of _.:@/-"
        )
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OutOfRange(f"{kind} {_shown(value)} is {type(value).__name__}; allowed: a number from 0 to 1")
    if not 0 <= value <= 1:  # false for NaN too
        raise OutOfRange(f"{kind} {_shown(value)} is out of range; allowed: a number from 0 to 1")
    return SignalKind(str(kind)), float(value) + 0.0, source  # + 0.0 makes -0.0 plain zero


def _shown(value: object) -> str:
    """The value as a message may show it: what a caller sent can be long, or an integer of a million digits."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
