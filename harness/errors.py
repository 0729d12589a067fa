"""The one exception for mistakes a user can mend, printed without a traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class HarnessError(Exception):
    """Something outside the program is wrong: a file, a name, a model that cannot be reached.

    The message says what was expected, what was found and what to do. The command line prints it as it is and
    exits with 2.
    """


class OutOfReachError(HarnessError):
    """A model that cannot be loaded: whoever else needs it need not try."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A short hint such as `; did you mean 'sst2'?`, or an empty string when nothing is near."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""


def shown(value: object, most: int = 60) -> str:
    """A value for a message, cut after `most` characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


def one_of(names: Iterable[str], most: int = 20) -> str:
    """The names for a message: `a, b, c`, cut after `most`."""
    shown = sorted(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more if shown else "none"
