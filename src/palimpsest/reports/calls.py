"""The calls that give the numbers of the page that compares two runs, for a reader to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from palimpsest.reports import two_runs
from palimpsest.reports.sources import Source

if TYPE_CHECKING:
    from palimpsest.evidence.two_runs import TwoRuns


@dataclass(frozen=True)
class Calls:
    """Python that opens the runs as the page did; each call leaves its numbers in ``frame``."""

    paths: tuple[Path, Path]
    margin_share: float
    margin_spread: float

    def unequal(self) -> str:
        """What differs inside cells of one identity."""
        return self._script("frame = runs.unequal()")

    def metrics(self, where: str = "", order: str = "", most: int | None = None) -> str:
        """The comparisons, those that ``where`` selects, by ``order``, the first ``most``."""
        last = f".filter({where})" if where else ""
        last += f'.sort("{order}")' if order else ""
        last += f".head({most})" if most else ""
        return self._script(
            "frame = compared(\n"
            f"        runs.moments(), margin_share={self.margin_share}, "
            f"margin_spread={self.margin_spread}\n    ){last}",
            "from palimpsest.statistics.run_differences import compared",
            polars="pl." in where,
        )

    def sources(
        self, database: TwoRuns, shared: pl.DataFrame, claims: pl.DataFrame
    ) -> dict[str, Source]:
        """What stands under the tables that are no blocks."""
        facts = [two_runs.run_facts(database, run) for run in two_runs.RUNS]
        frames = {
            "runs": pl.DataFrame(facts, infer_schema_length=None),
            "shared": two_runs.by_study(shared),
            "made": pl.DataFrame(two_runs.made_differently(database)),
            "claims": claims,
            "alone": pl.DataFrame(two_runs.alone(database)),
            "cost": pl.DataFrame(two_runs.cost(database), infer_schema_length=None),
        }
        said = {
            "runs": "pl.DataFrame([two_runs.run_facts(runs, run) for run in two_runs.RUNS])",
            "shared": "two_runs.by_study(runs.shared())",
            "made": "pl.DataFrame(two_runs.made_differently(runs))",
            "claims": "two_runs.claims(runs)",
            "alone": "pl.DataFrame(two_runs.alone(runs))",
            "cost": "pl.DataFrame(two_runs.cost(runs), infer_schema_length=None)",
        }
        return {
            name: Source(f"page-{name}", self._read(said[name]), frame, "python")
            for name, frame in frames.items()
        }

    def _read(self, call: str) -> str:
        line = "from palimpsest.reports import two_runs"
        return self._script(f"frame = {call}", line, polars="pl." in call)

    def _script(self, body: str, *imports: str, polars: bool = False) -> str:
        old, new = (str(path) for path in self.paths)
        lines = ["import polars as pl", ""] if polars else []
        lines += ["from palimpsest.evidence.two_runs import TwoRuns", *imports, ""]
        lines += [f"with TwoRuns({old!r}, {new!r}) as runs:", f"    {body}"]
        return "\n".join(lines)
