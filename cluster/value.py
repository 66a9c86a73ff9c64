"""What the values of this package have in common: frozen, strictly typed, no unknown keys, no NaN; and their words."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

# The syntax of labels is that of Kubernetes, which Ray took over: [prefix/]name, and a value of at most 63 characters.
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"

Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
LabelKey = Annotated[str, StringConstraints(pattern=rf"^(?:[a-z0-9](?:[a-z0-9.-]{{0,251}}[a-z0-9])?/)?{_NAME}$")]
LabelValue = Annotated[str, StringConstraints(pattern=rf"^{_NAME}$")]
LabelRule = Annotated[str, StringConstraints(pattern=rf"^!?(?:{_NAME}|in\({_NAME}(?:, ?{_NAME})*\))$")]


class Value(BaseModel):
    """A value that is right once it is there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
