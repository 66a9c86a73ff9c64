"""Linear algebra on one thread: its results then do not depend on how many threads the process was given.

BLAS divides a product among its threads and adds the parts up in another order, so that the last bits differ; what a
policy has learned must be the same bytes after a restart with other settings.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """For the block that solves or multiplies."""
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # looks through the loaded libraries, once
