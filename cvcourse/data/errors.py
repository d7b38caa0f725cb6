"""The one error a data function raises when a set cannot be had."""


class DataError(RuntimeError):
    """A data set cannot be read, fetched or trusted.

    The message is one sentence that says what to do.
    """
