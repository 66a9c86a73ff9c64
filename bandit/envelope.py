"""The bytes of a policy's state: they say what they are, and damage shows.

    magic (8 bytes) | header's length (8 bytes, big-endian) | header's SHA-256 | header (JSON, sorted keys) | parts

The header names the policy, how many records it learned from, what must match before the parts may be used, and each
part's length and SHA-256: Vowpal Wabbit loads a model with flipped bits and is confidently wrong. No pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256

from .errors import BadState

MAGIC = b"SBPOLICY"
VERSION = 2  # 1: other arms' time, default qualities and images of one request were learned as well
_LENGTH_ENDS = len(MAGIC) + 8
_HEADER_STARTS = _LENGTH_ENDS + 32


def pack(policy: str, must_match: Mapping[str, object], learned: int, parts: Mapping[str, bytes]) -> bytes:
    """One envelope; equal arguments give equal bytes."""
    header = {
        "version": VERSION,
        "policy": policy,
        "must_match": dict(must_match),
        "learned": learned,
        "parts": [[name, len(part), sha256(part).hexdigest()] for name, part in sorted(parts.items())],
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    prefix = MAGIC + len(text).to_bytes(8, "big") + sha256(text).digest()
    return prefix + text + b"".join(part for _, part in sorted(parts.items()))


def unpack(
    state: bytes, policy: str, must_match: Mapping[str, object], names: frozenset[str] = frozenset()
) -> tuple[int, dict[str, bytes]]:
    """How many records were learned, and the parts.

    Raises BadState on anything that `pack` would not have written for these arguments.
    """
    if state[: len(MAGIC)] != MAGIC or len(state) < _HEADER_STARTS:
        raise BadState(f"not a policy's state: {len(state)} bytes that do not begin with {MAGIC!r}")
    end = _HEADER_STARTS + int.from_bytes(state[len(MAGIC) : _LENGTH_ENDS], "big")
    text = state[_HEADER_STARTS:end]
    if sha256(text).digest() != state[_LENGTH_ENDS:_HEADER_STARTS]:
        raise BadState("the header of the state is damaged or cut off")
    try:
        header = json.loads(text)
        version, owner, found, learned = (header[key] for key in ("version", "policy", "must_match", "learned"))
        table = [(str(name), int(length), str(digest)) for name, length, digest in header["parts"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadState(f"the header of the state cannot be read: {error}") from error
    if version != VERSION:
        raise BadState(f"state is of version {version!r}, this is version {VERSION}; learn anew from the journal")
    if owner != policy:
        raise BadState(f"state belongs to policy {owner!r}, not to {policy!r}")
    if type(learned) is not int or learned < 0:
        raise BadState(f"state says that {learned!r} records were learned")
    if found != json.loads(json.dumps(dict(must_match))):
        raise BadState(f"state was learned with {found}, this policy has {dict(must_match)}; learn anew")
    if {name for name, _, _ in table} != names:
        raise BadState(f"state holds the parts {[name for name, _, _ in table]}, expected {sorted(names)}")
    parts: dict[str, bytes] = {}
    for name, length, digest in table:
        part = state[end : end + length]
        if length < 0 or len(part) != length or sha256(part).hexdigest() != digest:
            raise BadState(f"part {name!r} of the state is damaged or cut off")
        parts[name] = part
        end += length
    if end != len(state):
        raise BadState(f"{len(state) - end} bytes follow the last part of the state")
    return learned, parts
