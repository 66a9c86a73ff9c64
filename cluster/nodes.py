"""The machines that a cluster may have, kind by kind: what one node gives to replicas, and how many there may be.

`ray_resources` and `ray_labels` are what Ray is told of such a node; nothing else here knows Ray's words.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from .value import LabelKey, LabelValue, Value, Word

ACCELERATOR_LABEL = "ray.io/accelerator-type"
GROUP_LABEL = "ray.io/node-group"
_GIB = 2**30

NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?$")]  # part of a pod's name
Whole = Annotated[int, Field(ge=1, le=1_000_000)]
NodeCount = Annotated[int, Field(ge=0, le=10_000)]


class Toleration(Value):
    """A taint of Kubernetes nodes that pods of this type may ignore. `value` is for `Equal` only."""

    key: LabelKey
    operator: Literal["Exists", "Equal"] = "Exists"
    value: LabelValue | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None  # None: all three

    @model_validator(mode="after")
    def _value_where_it_is_compared(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("a toleration has a value where operator is Equal, and only there")
        return self


class Kubernetes(Value):
    """Where pods of this type may run. GPU nodes' usual taint, nvidia.com/gpu, is tolerated without being named."""

    node_selector: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = Field(default=(), max_length=16)


class NodeType(Value):
    """One kind of node. The head runs Ray's own processes and takes no replica."""

    name: NodeName
    head: bool = False
    num_cpus: Whole
    num_gpus: int = Field(default=0, ge=0, le=64)
    accelerator_type: Word | None = None  # "L4", "H100", in Ray's words; None: no tier can ask for this kind
    memory_gib: float | None = Field(default=None, gt=0, le=65536)  # for replicas that reserve some; a pod's size
    custom: dict[Word, Whole] = Field(default_factory=dict)
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    min_nodes: NodeCount = 0
    max_nodes: NodeCount = 1
    kubernetes: Kubernetes = Kubernetes()
    node_config: dict[str, Any] = Field(default_factory=dict)  # of `ray up`: as the provider wants it

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes {self.min_nodes} is above max_nodes {self.max_nodes}")
        if self.accelerator_type is not None and self.num_gpus == 0:
            raise ValueError(f"accelerator_type {self.accelerator_type} without a GPU: set num_gpus above 0")
        if self.head and (self.min_nodes, self.max_nodes) != (0, 1):
            raise ValueError("there is one head: leave out min_nodes and max_nodes")
        if self.head and (self.num_gpus or self.custom or self.labels):
            raise ValueError("the head takes no replica: give it num_cpus and memory_gib, no GPUs, custom or labels")
        given = self.labels.get(ACCELERATOR_LABEL, self.accelerator_type)
        if given != self.accelerator_type:
            raise ValueError(f"labels say {ACCELERATOR_LABEL} {given}, accelerator_type {self.accelerator_type}")
        return self

    def ray_labels(self) -> dict[str, str]:
        """Labels of a node of this type: its own, and those that Ray sets by itself."""
        own = {GROUP_LABEL: self.name}
        if self.accelerator_type is not None:
            own[ACCELERATOR_LABEL] = self.accelerator_type
        return own | self.labels

    def ray_resources(self) -> dict[str, int]:
        """What Ray hands out on a node of this type. Memory in bytes."""
        if self.head:
            return {"CPU": 0}
        given = {"CPU": self.num_cpus}
        if self.num_gpus:
            given["GPU"] = self.num_gpus
        if self.memory_gib is not None:
            given["memory"] = int(self.memory_gib * _GIB)
        if self.accelerator_type is not None:
            given[f"accelerator_type:{self.accelerator_type}"] = 1  # an autoscaler must know it before a node is there
        return given | self.custom
