"""What one replica takes of a node, and between which bounds their number may move. Plain values, no Ray.

`ray_actor_options` and `autoscaling_config` are the dicts that Ray Serve takes; nothing else here knows Ray's words.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

_GIB = 2**30
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class TierResources(_Value):
    """What Ray reserves for one replica. Reserved is not limited: a replica may use more than it asked for."""

    num_cpus: float = Field(default=1.0, ge=0, le=1024)  # fractions share a core
    num_gpus: float = Field(default=0.0, ge=0, le=64)  # a fraction shares one GPU, without memory isolation
    accelerator_type: Word | None = None  # "L4", "H100"; None: any
    label_selector: dict[Word, str] = Field(default_factory=dict)  # node labels, as {"ray.io/accelerator-type": "L4"}
    memory_gib: float | None = Field(default=None, gt=0, le=65536)  # of main memory; None: not reserved
    custom: dict[Word, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)  # resources that the nodes declare

    @model_validator(mode="after")
    def _whole_gpus(self) -> Self:
        if self.num_gpus > 1 and self.num_gpus != int(self.num_gpus):
            raise ValueError(f"num_gpus above 1 must be a whole number, given {self.num_gpus:g}")
        return self

    def ray_actor_options(self) -> dict[str, Any]:
        """The dict that Ray Serve takes under this name. What is absent is left out."""
        options: dict[str, Any] = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus}
        if self.accelerator_type is not None:
            options["accelerator_type"] = self.accelerator_type
        if self.label_selector:
            options["label_selector"] = dict(self.label_selector)
        if self.memory_gib is not None:
            options["memory"] = int(self.memory_gib * _GIB)
        if self.custom:
            options["resources"] = dict(self.custom)
        return options


class ScalingLimits(_Value):
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
