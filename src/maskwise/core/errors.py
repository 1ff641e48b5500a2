"""The one exception for input that a user can mend."""

import re

from maskwise.core.text import shortened

PARAMETER = re.compile(r"`(\w+)(?:=([^`]*))?`")
LONGEST = 300  # signs; what strangers call files and classes shall not fill the screen


class InputError(ValueError):
    """Bad input: its message is one line that says what was wrong and what to do.

    A parameter that the message names stands in backticks, with a value where one is proposed: `` `out` ``,
    `` `resume=True` ``. In Python that is what to pass; the command line puts its own option in the place, ``--out``
    or ``--resume``, prints the line on stderr and exits with 2. In Python it is an ordinary ``ValueError``.

    A message of more than 300 signs loses its middle: what was wrong stands at its beginning, what to do at its end.

    Example:
        >>> len(str(InputError("x" * 1000)))
        300
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message), LONGEST))
