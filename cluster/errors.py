"""What can go wrong while deciding how many replicas run where.

    ClusterError
    ├── ImpossibleContext    a scaling context with figures that no measurement gives (negative, NaN, infinite)
    └── ImpossibleTraffic    traffic or a tier that cannot be simulated

Impossible resources and limits are refused by their own types with pydantic's ValidationError.
"""


class ClusterError(Exception):
    """Base of all errors of this package."""


class ImpossibleContext(ClusterError):
    """A figure of the scaling context cannot be; the message names it, what was given and what is allowed."""


class ImpossibleTraffic(ClusterError):
    """Traffic or a tier that cannot be simulated; the message says what was given and what is allowed."""
