"""What can go wrong while drawing.

    ReplicaError
    ├── ModelNotLoadable     path or hub id missing, wrong format, unsafe format, wrong shapes
    ├── UnknownPreset        preset that the tier does not have, or an option that its sampler does not know
    └── NotLoaded            generate or score before load, or after close
"""


class ReplicaError(Exception):
    """Base of all errors of this package."""


class ModelNotLoadable(ReplicaError):
    """The weights cannot be used; the message says what was given, what is allowed and what to do."""


class UnknownPreset(ReplicaError):
    """The preset or one of its options is unknown; the message lists the known ones."""


class NotLoaded(ReplicaError):
    """The model is not in memory: call load() first."""
