"""What is served: tiers, prices, presets, policy and limits, read from one YAML file that an operator edits.

    catalogue = load_catalogue(Path("my-tiers.yaml"))      # or load_catalogue() for the embedded default
    catalogue.arms()                                       # what a policy may choose from

Parsed once, then handed down as frozen values. Whatever cannot be is refused before anything starts, in sentences
that name file, line and key. What a value stands for is said in `catalogue.yaml`, which is meant to be copied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from bandit.context import ArmContext, Limits, Weights
from bandit.errors import UnknownPolicy
from bandit.features import SCHEMAS, needs_vector
from bandit.policies import build
from cluster.nodes import NodeType
from cluster.resources import ScalingLimits, TierResources

from .catalogue_errors import CatalogueError
from .catalogue_nodes import LEARNER_PATH, Residents, node_problems
from .catalogue_report import CrossChecks, problems_of
from .yaml_source import parse_yaml

EMBEDDED = Path(__file__).with_name("catalogue.yaml")
QUALITY_ALIASES = {"standard": "medium", "hd": "high"}  # OpenAI's words for ours
_QUALITIES = ("auto", "low", "medium", "high")

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,64}$")]
Family = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]
ImportPath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$")
]
Size = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,3}x[1-9][0-9]{0,3}$")]  # width x height, in pixels
Threads = Annotated[int, Field(ge=1, le=256)]
Queued = Annotated[int, Field(ge=1, le=100_000)]
Ongoing = Annotated[int, Field(ge=1, le=10_000)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Gateway(_Section):
    """The HTTP side: what a request may ask, and how many wait."""

    deadline_s: float = Field(default=60.0, gt=0, le=3600)
    max_prompt_characters: int = Field(default=4000, ge=1, le=4000)
    max_body_bytes: int = Field(default=1_000_000, ge=10_000, le=100_000_000)
    max_images: int = Field(default=10, ge=1, le=10)
    max_ongoing_requests: Ongoing = 100
    max_queued_requests: Queued = 200
    circuit_failures: int = Field(default=3, ge=1, le=1000)
    circuit_cooldown_s: float = Field(default=10.0, gt=0, le=3600)
    resources: TierResources = TierResources(num_cpus=0.1)
    scaling: ScalingLimits = ScalingLimits(target_ongoing_requests=50.0)


class PolicyChoice(_Section):
    """Which policy decides, and which one while it cannot."""

    name: Name = "factored"
    options: dict[str, Any] = Field(default_factory=dict)  # the policy's own
    floor: float | None = Field(default=None, ge=0, le=1)  # share of requests that explore; None: the policy's own
    fallback: Name = "uniform"

    @model_validator(mode="after")
    def _known(self) -> Self:
        checks = CrossChecks()
        if "floor" in self.options:
            checks.add(("options", "floor"), "belongs beside options, as floor: ...")
        for key, name, options in (("name", self.name, self.policy_options()), ("fallback", self.fallback, {})):
            try:
                build(name, options)
            except UnknownPolicy as error:
                checks.add((key,), str(error))
        checks.refuse()
        return self

    def policy_options(self) -> dict[str, Any]:
        """What `bandit.policies.build` takes beside the name."""
        return self.options if self.floor is None else self.options | {"floor": self.floor}


class EncoderEntry(_Section):
    """A sentence encoder for prompts, in every gateway. With one, the journal keeps a vector of every prompt."""

    model: Annotated[str, Field(min_length=1, max_length=1000)] | None = None  # None: the installed package's weights
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None  # commit of a hub id
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: Threads = 1


class WeightsPreset(_Section):
    """What a caller who asks for this quality pays for."""

    quality: float = Field(ge=0, le=1e9)
    latency_per_s: float = Field(ge=0, le=1e9)
    cost_per_usd: float = Field(ge=0, le=1e9)
    max_cost_usd: float | None = Field(default=None, gt=0, le=1e6)  # per image, where the caller sets no ceiling
    max_latency_s: float | None = Field(default=None, gt=0, le=86400)  # expected, as above

    @model_validator(mode="after")
    def _worth_something(self) -> Self:
        if self.quality == self.latency_per_s == self.cost_per_usd == 0:
            raise ValueError("all three weights are 0; then every tier is worth the same: give at least one above 0")
        return self

    def to_weights(self) -> Weights:
        """As a policy takes them."""
        return Weights(self.quality, self.latency_per_s, self.cost_per_usd)

    def to_limits(self) -> Limits:
        """As a policy takes them."""
        return Limits(latency_s=self.max_latency_s, cost_usd=self.max_cost_usd)


class Learning(_Section):
    """How long a signal may take, what stands for one that never comes, and how often a snapshot is published."""

    join_window_s: float = Field(default=60.0, gt=0, le=30 * 86400)
    default_quality: float = Field(default=0.5, ge=0, le=1)
    vote_window_s: float = Field(default=86400.0, gt=0, le=3650 * 86400)
    snapshot_every: int = Field(default=50, ge=1, le=1_000_000)
    snapshot_after_s: float = Field(default=5.0, gt=0, le=86400)
    resources: TierResources = TierResources(num_cpus=0.1)


class JournalPlace(_Section):
    """Where the journal is."""

    url: Annotated[str, StringConstraints(pattern=r"^(sqlite:///.+|postgresql(\+psycopg)?://.+)$")] = (
        "sqlite:///switchboard.db"
    )


class ModelSource(_Section):
    """What a replica of a tier or of the scorer is built from: a class, its weights, a device."""

    class_path: ImportPath = Field(alias="class")
    model: Annotated[str, Field(min_length=1, max_length=1000)] | None = None  # None: the weights in this tree
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None  # commit of a hub id
    dtype: Literal["float32", "float16", "bfloat16"] | None = None  # None: the class's own
    options: dict[str, Any] = Field(default_factory=dict)  # further keyword options of the class
    device: Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:[0-9]{1,2})?)$")] = "cpu"
    threads: Threads | None = 1  # CPU threads a replica; None: as many as the library likes

    def class_options(self) -> dict[str, Any]:
        """Keyword arguments of the class, without what is absent."""
        given = {"model": self.model, "revision": self.revision, "dtype": self.dtype}
        return {name: value for name, value in given.items() if value is not None} | self.options

    def load_arguments(self) -> dict[str, Any]:
        """What `replicas.loading` takes, presets apart."""
        return {"import_path": self.class_path, **self.class_options()}


class _Model(ModelSource):
    """What a tier and the scorer share besides."""

    resources: TierResources = TierResources()
    scaling: ScalingLimits = ScalingLimits()
    max_ongoing_requests: Ongoing = 4
    max_queued_requests: Queued = 64

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        checks = CrossChecks()
        gpu = self.device.startswith("cuda")
        if gpu and self.resources.num_gpus == 0:
            checks.add(("device",), f"{self.device} without a GPU: set resources.num_gpus above 0")
        if not gpu and self.resources.num_gpus > 0:
            checks.add(("resources", "num_gpus"), "reserves a GPU that device: cpu does not use; set device: cuda")
        if self.scaling.target_ongoing_requests > self.max_ongoing_requests:
            checks.add(
                ("scaling", "target_ongoing_requests"),
                f"{self.scaling.target_ongoing_requests:g} is above max_ongoing_requests {self.max_ongoing_requests}; "
                "it would never scale up",
            )
        if self.revision is not None and self.model is None:
            checks.add(("revision",), "is given without a model; a revision is the commit of a hub model")
        for name in ("model", "revision", "dtype", "presets"):
            if name in self.options:
                checks.add(("options", name), f"belongs beside options, as {name}: ...")
        self._check_more(checks)
        checks.refuse()
        return self

    def _check_more(self, checks: CrossChecks) -> None:
        """Checks of a subclass."""

    def source_values(self) -> dict[str, Any]:
        """The ModelSource in this as JSON values, defaults left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True, include=set(ModelSource.model_fields))


class ScorerEntry(_Model):
    """The model that rates images against their prompts."""


class Preset(_Section):
    """One effort level of a tier. With its tier it is an arm, `tier@preset`."""

    price_usd: float = Field(ge=0, le=1e6)  # per image
    service_s: float = Field(gt=0, le=86400)  # per image on one replica: an estimate, until it is measured
    options: dict[str, Any] = Field(default_factory=dict)  # of the tier's sampler


class Batch(_Section):
    """How many images are drawn at once, and how long the first waits for the others."""

    max_size: int = Field(default=1, ge=1, le=1024)
    wait_s: float = Field(default=0.0, ge=0, le=60)


class TierEntry(_Model):
    """One model that draws, with its presets."""

    name: Name
    family: Family
    presets: dict[Name, Preset] = Field(min_length=1, max_length=32)
    batch: Batch = Batch()
    sizes: tuple[Size, ...] = Field(default=("64x64",), min_length=1, max_length=32)

    def _check_more(self, checks: CrossChecks) -> None:
        if self.name == "auto":
            checks.add(("name",), "auto is reserved: it lets the policy choose; take another name")
        if self.max_ongoing_requests < self.batch.max_size:
            checks.add(
                ("max_ongoing_requests",),
                f"{self.max_ongoing_requests} is below batch.max_size {self.batch.max_size}; no batch would fill",
            )
        for index, size in enumerate(self.sizes):
            if size in self.sizes[:index]:
                checks.add(("sizes", index), f"{size} is given twice")

    @property
    def sizes_px(self) -> dict[str, tuple[int, int]]:
        """Size as callers write it -> (height, width)."""
        return {size: (int(size.partition("x")[2]), int(size.partition("x")[0])) for size in self.sizes}

    def build_arguments(self) -> dict[str, Any]:
        """What `replicas.loading.build_tier` takes."""
        presets = {name: dict(preset.options) for name, preset in self.presets.items()}
        return {**self.load_arguments(), "presets": presets}


class Catalogue(_Section):
    """All of it."""

    version: Literal[1]
    gateway: Gateway = Gateway()
    policy: PolicyChoice = PolicyChoice()
    encoder: EncoderEntry | None = None  # None: policies see words only
    weights: dict[Name, WeightsPreset]
    learning: Learning = Learning()
    journal: JournalPlace = JournalPlace()
    nodes: tuple[NodeType, ...] = Field(default=(), max_length=64)  # (): one machine, which must hold all of it
    scorer: ScorerEntry
    tiers: tuple[TierEntry, ...] = Field(min_length=1, max_length=64)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        checks = CrossChecks()
        for quality in _QUALITIES:
            if quality not in self.weights:
                checks.add(("weights",), f"{quality} is missing; required: {', '.join(_QUALITIES)}")
        for alias, meant in QUALITY_ALIASES.items():
            if alias in self.weights:
                checks.add(("weights", alias), f"is reserved: callers who ask for {alias} get {meant}")
        names = [tier.name for tier in self.tiers]
        for index, name in enumerate(names):
            if name in names[:index]:
                checks.add(("tiers", index, "name"), f"{name!r} is the name of tiers[{names.index(name)}] already")
        arms = [arm.name for arm in self.arms()]
        if self.policy.name == "fixed" and self.policy.options.get("arm") not in arms:
            given = self.policy.options.get("arm")
            at = ("policy", "options", "arm") if "arm" in self.policy.options else ("policy", "options")
            checks.add(
                at, f"the fixed policy needs an arm of this catalogue, given {given!r}; allowed: {', '.join(arms)}"
            )
        schema = self.policy.options.get("features_schema")
        if self.encoder is None and isinstance(schema, str) and schema in SCHEMAS and needs_vector(schema):
            checks.add(
                ("policy", "options", "features_schema"), f"{schema} needs a sentence encoder: add encoder: {{}}"
            )
        if self.nodes and len(set(names)) == len(names):
            for path, words in node_problems(self.nodes, self.residents()):
                checks.add(path, words)
        checks.refuse()
        return self

    def residents(self) -> tuple[Residents, ...]:
        """Everything that runs as replicas, with what it takes."""
        one = ScalingLimits()
        return (
            Residents("gateway", ("gateway",), self.gateway.resources, self.gateway.scaling),
            Residents("learner", LEARNER_PATH, self.learning.resources, one),
            Residents("scorer", ("scorer",), self.scorer.resources, self.scorer.scaling),
            *(
                Residents(tier.name, ("tiers", index), tier.resources, tier.scaling)
                for index, tier in enumerate(self.tiers)
            ),
        )

    def arms(self) -> tuple[ArmContext, ...]:
        """Every tier with every preset, in the file's order, with the estimates of the catalogue and no load."""
        return tuple(
            ArmContext(
                name=arm_name(tier.name, name),
                tier=tier.name,
                preset=name,
                family=tier.family,
                price_usd=preset.price_usd,
                service_s=preset.service_s,
                batch=tier.batch.max_size,
            )
            for tier in self.tiers
            for name, preset in tier.presets.items()
        )

    def tier(self, name: str) -> TierEntry:
        """The tier of this name. Raises KeyError, as names are checked where they come in."""
        return {tier.name: tier for tier in self.tiers}[name]

    def qualities(self) -> tuple[str, ...]:
        """What a caller may ask for as quality, OpenAI's words included."""
        return (*self.weights, *QUALITY_ALIASES)

    def weights_for(self, quality: str) -> Weights:
        """The weights of a quality. Raises KeyError, as names are checked where they come in."""
        return self.weights[QUALITY_ALIASES.get(quality, quality)].to_weights()

    def limits_for(self, quality: str) -> Limits:
        """The ceilings of a quality for callers who set none. Raises KeyError, as above."""
        return self.weights[QUALITY_ALIASES.get(quality, quality)].to_limits()

    def sizes_px(self) -> dict[str, tuple[int, int]]:
        """Every size that some tier offers -> (height, width)."""
        return {size: px for tier in self.tiers for size, px in tier.sizes_px.items()}

    def to_json(self) -> str:
        """Text for another process, for `Catalogue.model_validate_json`."""
        return self.model_dump_json(by_alias=True)

    def gateway_values(self) -> dict[str, Any]:
        """What a gateway takes of this as JSON values, defaults left out. Not the journal's URL: it may be secret."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"journal", "nodes"})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The catalogue of such values."""
        return cls.model_validate_json(json.dumps(values))


def arm_name(tier: str, preset: str) -> str:
    """The name of an arm, as in the journal and in answers."""
    return f"{tier}@{preset}"


def load_catalogue(path: Path | None = None) -> Catalogue:
    """Read a catalogue; None is the embedded default. Raises CatalogueError."""
    path = path or EMBEDDED
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CatalogueError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CatalogueError([f"{path}:{line}: is not UTF-8 text (byte 0x{content[error.start]:02x})"]) from error
    return parse_catalogue(text, str(path))


def parse_catalogue(text: str, source: str) -> Catalogue:
    """The catalogue that `text` describes; `source` names it in messages. Raises CatalogueError."""
    located = parse_yaml(text, source)
    try:
        return Catalogue.model_validate(located.value)
    except ValidationError as error:
        raise CatalogueError(problems_of(error, located, Catalogue)) from error
