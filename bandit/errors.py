"""What can go wrong while choosing and learning.

BanditError
├── NoArmAvailable    no arm of the context may be chosen now
├── UnknownPolicy     a policy's name, or one of its options, is unknown or its value is not allowed
├── UnknownSchema     a features schema that this version does not know
├── BadVector         a sentence vector that is missing, not of the schema's length, not finite, or not asked for
├── BadContext        a context that no policy may see: non-finite numbers, names of wrong letters, arms twice
├── BadRecord         a record that no policy may learn from: non-finite values, or values out of range
├── BadState          bytes that are not this policy's state, or were damaged
├── JournalError      the journal could not take or give rows
│   ├── BadJournalUrl     the URL names no database that can hold a journal
│   ├── BadRow            a row that cannot be stored or read back: wrong type, range or size, unknown decision
│   ├── RowConflict       the id is stored already, with other content; the first row stays
│   ├── JournalAway       the database cannot be reached or is locked; the same call may work later
│   ├── JournalBusy       too many rows wait to be written; nothing of this call was taken
│   └── JournalClosed     the writer was closed; nothing of this call was taken
├── SignalRefused     a signal that must not be learned
│   ├── UnknownDecision   no decision with this id is in the journal
│   ├── OutOfRange        kind, source or value is not allowed
│   └── Contradiction     another value is stored for the same decision, kind and source; the first stays
├── ExperimentError   an experiment that cannot be, or cannot be changed like that
│   ├── BadPlan             a plan that cannot be run; nothing was stored
│   ├── UnknownExperiment   no experiment, or no variant of it, has this name
│   │   └── UnknownVariant      the experiment is there, and has no variant of this name
│   ├── ExperimentRefused   the experiment is in a state that does not allow this, or its units are taken
│   ├── NoEvidence          a promotion that the data do not support; it can be forced, which is logged
│   └── ExperimentConflict  somebody else changed an experiment at the same moment; nothing was stored
├── CannotEvaluate    times, target or journal leave nothing that an off-policy evaluation could answer
├── LeaseLost         another holder took the lease over; nothing was written
├── BadTable          a table of outcomes, or its vectors, that cannot be replayed; names file, line and what is allowed
├── BadTraffic        traffic, tiers or a design that the simulation of shared queues cannot run
└── SnapshotRefused   the state failed its check and was not published; the last good snapshot stays
"""


class BanditError(Exception):
    """Base of all errors of this package."""


class NoArmAvailable(BanditError):
    """No arm of the context is available; the message lists the arms that were there."""


class UnknownPolicy(BanditError):
    """The policy or option is unknown or its value not allowed; the message lists what is allowed."""


class UnknownSchema(BanditError):
    """The features schema is unknown; the message lists the known ones."""


class BadVector(BanditError):
    """The sentence vector does not go with the features schema; the message says which would."""


class BadContext(BanditError):
    """The context holds a value that must not reach a model; the message names field, value and allowed range."""


class BadRecord(BanditError):
    """The record holds a value that must not reach a model; nothing was learned from it."""


class BadState(BanditError):
    """The bytes cannot be restored; the policy stays as it was."""


class JournalError(BanditError):
    """Base of what goes wrong between a caller and the journal's database."""


class BadJournalUrl(JournalError):
    """The URL cannot be used; the message says which kinds of URL can."""


class BadRow(JournalError):
    """The row cannot be stored or read back; the message names table, field, value and allowed range."""


class RowConflict(JournalError):
    """A row with this id and other content is stored already; it stays as it is."""


class JournalAway(JournalError):
    """No answer, or locked for too long. Whether the rows were stored is unknown; sending them again is safe."""


class JournalBusy(JournalError):
    """The writer's queue is full; the message says how full. Send the rows again later."""


class JournalClosed(JournalError):
    """The writer was closed and takes no more rows."""


class SignalRefused(BanditError):
    """Base of the reasons not to take a signal."""


class UnknownDecision(SignalRefused):
    """No decision with this id was recorded."""


class OutOfRange(SignalRefused):
    """Kind, source or value is not allowed; the message says what is."""


class Contradiction(SignalRefused):
    """The same source said something else about this decision before; what it said first counts."""


class ExperimentError(BanditError):
    """Base of the reasons not to create or change an experiment."""


class BadPlan(ExperimentError):
    """The plan cannot be run; the message names field, value and what is allowed."""


class UnknownExperiment(ExperimentError):
    """No experiment, or no variant of it, has this name; the message lists those that there are."""


class UnknownVariant(UnknownExperiment):
    """The experiment has no variant of this name; the message lists those that it has."""


class ExperimentRefused(ExperimentError):
    """Not allowed in the experiment's state; the message says which it is and what to do."""


class NoEvidence(ExperimentError):
    """The report names no winner, and the promotion was not forced; the message says what it found."""


class ExperimentConflict(ExperimentError):
    """Another change of an experiment was stored first. Look at it, then repeat the call if it is still meant."""


class CannotEvaluate(BanditError):
    """There is nothing to evaluate, or not this; the message says what would be."""


class LeaseLost(BanditError):
    """Another holder took the lease over; the transaction was rolled back."""


class SnapshotRefused(BanditError):
    """The state failed its check; it was not published."""


class BadTable(BanditError):
    """The table or its vectors cannot be replayed; the message names file, line, value and what is allowed."""


class BadTraffic(BanditError):
    """A number of simulated traffic, tiers or designs is not allowed; the message names it and what is."""
