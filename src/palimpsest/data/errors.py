"""The error raised when a data file of the user cannot be used."""

from __future__ import annotations

import difflib
from pathlib import Path

#: How many problems the message spells out; the attribute keeps all of them.
SHOWN = 20


class DataError(ValueError):
    """A file holds rows that cannot be used.

    ``path`` is the file, ``problems`` a list of (line number from 1, what is wrong); line 0 stands
    for the file as a whole. The message names the file, how many rows are bad, and the first
    twenty problems, one a line; or the one problem of the file as a whole.
    """

    def __init__(self, path: str | Path, problems: list[tuple[int, str]]) -> None:
        super().__init__(path, problems)  # as arguments, so that the error survives pickling
        self.path = path
        self.problems = problems

    def __str__(self) -> str:
        bad = len({line for line, _ in self.problems if line > 0})
        if not bad and len(self.problems) == 1:
            return f"{self.path}: {self.problems[0][1]}"
        lines = [f"{self.path}: {bad} bad {'row' if bad == 1 else 'rows'}"]
        for line, problem in self.problems[:SHOWN]:
            lines.append(f"  line {line}: {problem}" if line > 0 else f"  {problem}")
        if len(self.problems) > SHOWN:
            lines.append(f"  ... and {len(self.problems) - SHOWN} more")
        return "\n".join(lines)


def unreadable(path: str | Path, error: Exception) -> DataError:
    """The error for a file that cannot be read, with the file beside it that may be meant."""
    why = getattr(error, "strerror", None) or str(error)
    try:
        there = sorted(each.name for each in Path(path).parent.iterdir() if each.is_file())
    except (OSError, ValueError):
        there = []
    near = difflib.get_close_matches(Path(path).name, there, 1)
    hint = f"; did you mean {Path(path).with_name(near[0])}?" if near else ""
    return DataError(path, [(0, f"cannot be read: {why}{hint}")])
