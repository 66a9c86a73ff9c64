"""Where a table comes from: a CSV file, a folder with ParetoBandit's examples, or the installed package."""

from __future__ import annotations

from pathlib import Path

from bandit.errors import BadTable

from .long_form import read_long_form
from .paretobandit_examples import COUNTED, FIRST, find_examples, read_examples
from .table import Table

INSTALLED = "paretobandit"


def read_table(where: str) -> Table:
    """Raises BadTable."""
    path = Path(where)
    if where == INSTALLED and not path.exists():
        return read_examples(find_examples())
    if path.is_dir():
        if (path / FIRST).is_file() and (path / COUNTED).is_file():
            return read_examples(path)
        raise BadTable(f"{where} is a folder without {FIRST} and {COUNTED}; give a CSV file, or a folder with those")
    if not path.is_file():
        raise BadTable(f"there is no file {where}; give a CSV or CSV.gz file, a folder with ParetoBandit's examples, "
                       f"or the word {INSTALLED}")  # fmt: skip
    return read_long_form(path)
