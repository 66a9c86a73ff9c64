"""What can go wrong while choosing and learning.

    BanditError
    ├── NoArmAvailable    no arm of the context may be chosen now
    ├── UnknownPolicy     a policy's name, or one of its options, is unknown or its value is not allowed
    ├── UnknownSchema     a features schema that this version does not know
    ├── BadContext        a context that no policy may see: non-finite numbers, names of wrong letters, arms twice
    ├── BadRecord         a record that no policy may learn from: non-finite values, or values out of range
    └── BadState          bytes that are not this policy's state, or were damaged
"""


class BanditError(Exception):
    """Base of all errors of this package."""


class NoArmAvailable(BanditError):
    """No arm of the context is available; the message lists the arms that were there."""


class UnknownPolicy(BanditError):
    """The policy or option is unknown or its value not allowed; the message lists what is allowed."""


class UnknownSchema(BanditError):
    """The features schema is unknown; the message lists the known ones."""


class BadContext(BanditError):
    """The context holds a value that must not reach a model; the message names field, value and allowed range."""


class BadRecord(BanditError):
    """The record holds a value that must not reach a model; nothing was learned from it."""


class BadState(BanditError):
    """The bytes cannot be restored; the policy stays as it was."""
