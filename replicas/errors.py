"""What can go wrong while drawing.

ReplicaError
├── ClassNotUsable       import path that names no tier or scorer class, or options that the class does not know
├── ModelNotLoadable     path or hub id missing, wrong format, unsafe format, wrong shapes
├── UnknownPreset        preset that the tier does not have, or an option that its sampler does not know
├── SizeNotPossible      height or width that the model cannot draw
├── BatchTooLarge        a batch that would not fit in memory; the replica lives on
├── NotLoaded            generate, score or encode before load, or after close
├── DrawingFailed        the model ran and gave no picture
├── ScoringFailed        the model ran and gave no score
├── EncodingFailed       the model ran and gave no vector
└── AttentionNotPossible shapes, types, devices or a backend that attention is not defined for
"""


class ReplicaError(Exception):
    """Base of all errors of this package."""


class ClassNotUsable(ReplicaError):
    """The import path or the options are wrong; the message says what was given, what is allowed and what to do."""


class ModelNotLoadable(ReplicaError):
    """The weights cannot be used; the message says what was given, what is allowed and what to do."""


class UnknownPreset(ReplicaError):
    """The preset or one of its options is unknown; the message lists the known ones."""


class SizeNotPossible(ReplicaError):
    """The model cannot draw this height or width; the message names the multiple that it needs and its own size."""


class BatchTooLarge(ReplicaError):
    """The batch would not fit in memory; the message tells the predicted need. Smaller batches are drawn as before."""


class NotLoaded(ReplicaError):
    """The model is not in memory: call load() first."""


class DrawingFailed(ReplicaError):
    """The model ran and its result is no picture: values that are not finite, or an injected failure."""


class ScoringFailed(ReplicaError):
    """The model ran and its scores are not finite."""


class EncodingFailed(ReplicaError):
    """The model ran and its vectors are not finite."""


class AttentionNotPossible(ReplicaError):
    """Shapes, types or devices do not fit each other or the backend; the message says which and what is allowed."""
