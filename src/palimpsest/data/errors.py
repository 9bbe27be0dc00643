"""The error that a file of the user's raises: every bad row at once, with its line number."""

from __future__ import annotations

from pathlib import Path

_SHOWN = 20


class DataError(ValueError):
    """A data file that cannot be used.

    ``problems`` lists every problem as (line number counted from 1, what is wrong); the message
    names the file, the number of bad rows and the first 20 problems, one a line.
    """

    def __init__(self, path: str | Path, problems: list[tuple[int, str]]) -> None:
        self.path = path
        self.problems = problems
        rows = len({line for line, _ in problems})
        lines = [f"{path}: {rows} bad row{'' if rows == 1 else 's'}"]
        lines += [f"  line {line}: {problem}" for line, problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"  ... and {len(problems) - _SHOWN} more")
        super().__init__("\n".join(lines))
