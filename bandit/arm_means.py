"""One number per arm, whatever the prompt: the mean quality of what it drew, over all time or of late."""

from __future__ import annotations

import json
from math import isfinite

from .context import ArmContext, Context
from .errors import BadState
from .roster import Roster

PRIOR = 0.5  # an arm that was never seen; weighs as much as one image


class ArmMeans:
    """Mean quality per arm name: q + share * (quality - q), with share = max(`share`, 1 / (images + 1)).

    A `share` of 0 is the mean over all images; any other forgets exponentially, once 1 / share images are in.
    """

    part_names = frozenset({"means", "roster"})

    def __init__(self, share: float) -> None:
        self._share = share
        self._mean: dict[str, float] = {}
        self._seen: dict[str, int] = {}
        self._roster = Roster()

    def estimate(self, context: Context) -> dict[str, tuple[float, float]]:
        """Mean and doubt per arm of the context; a mean makes no claim of its doubt, so that is 0."""
        return {arm.name: (self._mean.get(arm.name, PRIOR), 0.0) for arm in context.arms}

    def learn(self, context: Context, arm: ArmContext, quality: float | None) -> None:
        """Fold one image of `arm`; None: nobody measured its quality, and only the arms of the context are noted."""
        if quality is not None:
            mean, seen = self._mean.get(arm.name, PRIOR), self._seen.get(arm.name, 0) + 1
            self._mean[arm.name] = mean + max(self._share, 1 / (seen + 1)) * (quality - mean)
            self._seen[arm.name] = seen
        for gone in self._roster.note(one.name for one in context.arms):
            self._mean.pop(gone, None)
            self._seen.pop(gone, None)

    def parts(self) -> dict[str, bytes]:
        """Everything learned; floats are written so that they read back as the same bits."""
        means = {name: [mean, self._seen[name]] for name, mean in self._mean.items()}
        return {"means": json.dumps(means, sort_keys=True, allow_nan=False).encode(), "roster": self._roster.state()}

    def read(self, parts: dict[str, bytes]) -> ArmMeans:
        """The means that wrote `parts`, with this one's share. Raises BadState."""
        model = ArmMeans(self._share)
        model._roster = Roster.read(parts["roster"])
        try:
            for name, (mean, seen) in json.loads(parts["means"]).items():
                if not (isinstance(mean, float) and isfinite(mean) and 0 <= mean <= 1):
                    raise BadState(f"mean quality of arm {name!r} is {mean!r}")
                if type(seen) is not int or seen < 1:
                    raise BadState(f"arm {name!r} was seen {seen!r} times")
                model._mean[name], model._seen[name] = mean, seen
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise BadState(f"means cannot be read: {error}") from error
        return model
