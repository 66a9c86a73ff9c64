"""What can go wrong before or around serving. What a client of the HTTP API gets is in `openai_errors.py`.

ServeError
├── CatalogueError    in catalogue_errors.py
├── BadSettings       an environment variable or option that cannot be used
└── NotStarted        the applications did not come up; the message says which and why
"""


class ServeError(Exception):
    """Base of all errors of this package."""


class BadSettings(ServeError):
    """A setting cannot be used; the message names it, what was given and what is allowed."""


class NotStarted(ServeError):
    """Something did not come up in time, or failed for good."""
