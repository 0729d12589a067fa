"""Settings of the command line: flag > environment variable > file > default, and where each value came from."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.errors import HarnessError
from harness.files import named_path


@dataclass(frozen=True)
class Option:
    """A flag with a value and the environment variable `HARNESS_<NAME>` that stands for it. `many`: comma-separated."""

    name: str
    help: str
    metavar: str
    many: bool = False

    @property
    def variable(self) -> str:
        return "HARNESS_" + self.name.upper().replace("-", "_")


OPTIONS = {
    option.name: option
    for option in (
        Option("out", "folder for the results (default: out/BOARD)", "DIR"),
        Option("store", "folder of artifacts, shared by all runs (default: in your cache folder)", "DIR"),
        Option("mirror", "folder with copies of the hub's datasets and models", "DIR"),
        Option("workers", "processes that share the work (default: what suits the board and this machine)", "N"),
        Option("task", "only these tasks of the board", "NAME", many=True),
        Option("generator", "only these generators of the board", "NAME", many=True),
        Option("student", "only these students of the board", "NAME", many=True),
        Option("size", "these numbers of rows instead of the board's", "ROWS", many=True),
        Option("seed", "these seeds instead of the board's", "SEED", many=True),
    )
}


def add_options(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    for name in names:
        option = OPTIONS[name]
        repeat = "; several: comma-separated" if option.many else ""
        parser.add_argument(
            f"--{name}",
            metavar=option.metavar,
            help=f"{option.help}{repeat} [{option.variable}]",
            default=None,
        )


@dataclass(frozen=True)
class Settings:
    """The options' values as text, and where each came from."""

    values: Mapping[str, str]
    origins: Mapping[str, str]

    def path(self, name: str) -> Path | None:
        """The folder an option names.

        Raises:
            HarnessError: no path can be so named, or a mirror is not there.
        """
        if name not in self.values:
            return None
        path = named_path(self.values[name])
        if name == "mirror" and not path.is_dir():
            raise HarnessError(f"the mirror {path} ({self.origins[name]}) is no folder")
        return path

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in self.values.get(name, "").split(",") if word.strip())

    def workers(self, automatic: int) -> int:
        """How many processes; `automatic` where nothing is set."""
        numbers = self.numbers("workers")
        if len(numbers) > 1 or 0 in numbers:
            raise HarnessError(f"--workers ({self.origins['workers']}): expected one number of at least 1")
        return numbers[0] if numbers else automatic

    def numbers(self, name: str) -> tuple[int, ...]:
        """Whole numbers.

        Raises:
            HarnessError: something else.
        """
        return tuple(self._number(name, word) for word in self.words(name))

    def sizes(self) -> tuple[int | Literal["all"], ...]:
        """Numbers of rows; `all` for everything that a replayed file has.

        Raises:
            HarnessError: something else.
        """
        return tuple("all" if word == "all" else self._number("size", word, least=1) for word in self.words("size"))

    def _number(self, name: str, word: str, least: int = 0) -> int:
        # The length comes first: Python refuses to read a number of thousands of digits.
        if not (word.isascii() and word.isdigit() and len(word) <= 10 and least <= int(word) < 2**31):
            wanted = "whole numbers" + (f" of at least {least}" if least else "")
            raise HarnessError(f"--{name} ({self.origins[name]}): expected {wanted}, found '{word[:60]}'")
        return int(word)


def settings(arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> Settings:
    """The value of every option that is set, by flag or else by environment."""
    values, origins = {}, {}
    for name, option in OPTIONS.items():
        flag = getattr(arguments, name, None)
        if flag is not None:
            values[name], origins[name] = flag, f"flag --{name}"
        elif environment.get(option.variable):
            values[name], origins[name] = environment[option.variable], f"environment {option.variable}"
    return Settings(values, origins)
