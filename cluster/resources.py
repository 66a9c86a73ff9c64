"""What one replica takes of a node, and between which bounds their number may move. Plain values, no Ray.

`ray_actor_options` and `autoscaling_config` are the dicts that Ray Serve takes; nothing else here knows Ray's words.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from .value import LabelKey, LabelRule, Value, Word

_GIB = 2**30
LabelSelector = dict[LabelKey, LabelRule]


class TierResources(Value):
    """What Ray reserves for one replica. Reserved is not limited: a replica may use more than it asked for."""

    num_cpus: float = Field(default=1.0, ge=0, le=1024)  # fractions share a core
    num_gpus: float = Field(default=0.0, ge=0, le=64)  # a fraction shares one GPU, without memory isolation
    accelerator_type: Word | None = None  # "L4", "H100"; None: any. No fallback leads past it: for that, use labels
    label_selector: LabelSelector = Field(default_factory=dict)  # of nodes, as {"ray.io/accelerator-type": "L4"}
    fallback_selectors: tuple[Annotated[LabelSelector, Field(min_length=1)], ...] = Field(
        default=(), max_length=16
    )  # tried in this order where no node of the selectors before them has room
    memory_gib: float | None = Field(default=None, gt=0, le=65536)  # of main memory; None: not reserved
    custom: dict[Word, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)  # resources that the nodes declare

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError(f"num_gpus above 1 must be a whole number, given {self.num_gpus:g}")
        return self

    @model_validator(mode="after")
    def _fallbacks_of_something(self) -> Self:
        if self.fallback_selectors and not self.label_selector:
            raise ValueError("fallback_selectors without a label_selector: every node is allowed already")
        return self

    def selectors(self) -> tuple[LabelSelector, ...]:
        """The label selector, then its fallbacks: what Ray tries, in this order."""
        return (self.label_selector, *self.fallback_selectors)

    def ray_actor_options(self) -> dict[str, Any]:
        """The dict that Ray Serve takes under this name. What is absent is left out."""
        options: dict[str, Any] = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        if self.accelerator_type is not None:
            options["accelerator_type"] = self.accelerator_type
        if self.label_selector:
            options["label_selector"] = dict(self.label_selector)
        if self.fallback_selectors:
            options["fallback_strategy"] = [{"label_selector": dict(selector)} for selector in self.fallback_selectors]
        if self.memory_gib is not None:
            options["memory"] = int(self.memory_gib * _GIB)
        if self.custom:
            options["resources"] = dict(self.custom)
        return options


class ScalingLimits(Value):
    """Bounds and patience of scaling. `min_replicas` 0: an idle tier keeps none, and its next request waits for one."""

    min_replicas: int = Field(default=1, ge=0, le=10_000)
    max_replicas: int = Field(default=1, ge=1, le=10_000)
    target_ongoing_requests: float = Field(default=2.0, gt=0)  # per replica, in work and waiting
    upscale_delay_s: float = Field(default=30.0, ge=0)  # demand must stay above what runs for so long
    downscale_delay_s: float = Field(default=600.0, ge=0)  # demand must stay below for so long

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self

    def autoscaling_config(self) -> dict[str, Any]:
        """The dict that Ray Serve takes under this name."""
        return self.model_dump()
