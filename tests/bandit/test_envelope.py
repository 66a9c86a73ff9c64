from __future__ import annotations

from hashlib import sha256

import pytest

from bandit.envelope import MAGIC, pack, unpack
from bandit.errors import BadState

PARTS = {"b": b"second", "a": b"\0first"}
STATE = pack("factored", {"bits": 18}, 7, PARTS)
NAMES = frozenset(PARTS)


def test_unpack_gives_back_what_was_packed() -> None:
    assert unpack(STATE, "factored", {"bits": 18}, NAMES) == (7, PARTS)


def test_pack_does_not_depend_on_order() -> None:
    assert pack("factored", {"bits": 18}, 7, dict(reversed(PARTS.items()))) == STATE


def test_unpack_refuses_every_flipped_bit() -> None:
    for at in range(len(STATE)):
        for bit in range(8):
            flipped = bytes([*STATE[:at], STATE[at] ^ (1 << bit), *STATE[at + 1 :]])
            with pytest.raises(BadState):
                unpack(flipped, "factored", {"bits": 18}, NAMES)


@pytest.mark.parametrize("length", range(len(STATE)))
def test_unpack_refuses_every_cut(length: int) -> None:
    with pytest.raises(BadState):
        unpack(STATE[:length], "factored", {"bits": 18}, NAMES)


@pytest.mark.parametrize("header", [b"[" * 200_000, b"{}", b"null", b"\xff", b'{"version": 1}'], ids=range(5))
def test_unpack_refuses_a_header_that_is_whole_but_not_ours(header: bytes) -> None:
    state = MAGIC + len(header).to_bytes(8, "big") + sha256(header).digest() + header
    with pytest.raises(BadState):
        unpack(state, "factored", {"bits": 18}, NAMES)


@pytest.mark.parametrize(
    ("policy", "must_match", "names", "says"),
    [
        ("vowpal", {"bits": 18}, NAMES, "'factored'"),
        ("factored", {"bits": 19}, NAMES, "learned with"),
        ("factored", {"bits": 18}, frozenset("a"), "parts"),
    ],
)
def test_unpack_says_what_does_not_match(
    policy: str, must_match: dict[str, object], names: frozenset[str], says: str
) -> None:
    with pytest.raises(BadState, match=says):
        unpack(STATE, policy, must_match, names)
