"""What is wrong with a catalogue.

ServeError (errors.py)
└── CatalogueError    a catalogue that cannot be used; one sentence a problem, each naming file and line
"""

from __future__ import annotations

from collections.abc import Sequence

from .errors import ServeError


class CatalogueError(ServeError):
    """The catalogue cannot be used. `problems` are sentences of the form "file:line: key.path: what is wrong"."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)
