"""The one exception for input that a user can mend."""

import re

PARAMETER = re.compile(r"`(\w+)(?:=([^`]*))?`")


class InputError(ValueError):
    """Bad input: its message is one line that says what was wrong and what to do.

    A parameter that the message names stands in backticks, with a value where one is proposed: `` `out` ``,
    `` `resume=True` ``. In Python that is what to pass; the command line puts its own option in the place, ``--out``
    or ``--resume``, prints the line on stderr and exits with 2. In Python it is an ordinary ``ValueError``.
    """
