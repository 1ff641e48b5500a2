"""The one exception for input that a user can mend."""


class InputError(ValueError):
    """Bad input: its message is one line that says what was wrong and what to do.

    The command line prints it on stderr and exits with 2; in Python it is an ordinary ``ValueError``.
    """
