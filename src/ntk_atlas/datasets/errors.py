"""The one error that data raise: what is wrong, where, and what to do."""


class DataError(ValueError):
    """Data that cannot be used; the message names the file or source, the config key and the fix."""
