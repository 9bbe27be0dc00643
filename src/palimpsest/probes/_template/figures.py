"""The page of the template probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.probes._template.settings import QUESTION, TITLE
from palimpsest.reports.blocks import FINDS, Column, Figure, StudyPage, Table
from palimpsest.reports.figure_style import forest, panels

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure as Drawing

    from palimpsest.evidence.database import Database

SQL = """SELECT role, model, step, estimate, low, high, n, unit, p, detectable
FROM statistics WHERE study = $study AND analysis = 'order' ORDER BY role, step"""


def page(database: Database, study: str) -> StudyPage:
    """Figures and tables; everything shown comes from the queries."""
    claim = database.frame("SELECT * FROM claims WHERE study = ?", [study]).row(0, named=True)
    return StudyPage(
        study=study,
        title=TITLE,
        question=QUESTION,
        summary=[f"{claim['statement']} Verdict: {claim['verdict']}."],
        blocks=[
            Figure(
                "order",
                "Does order count?",
                lambda frame: f"Ordered minus shuffled; n = {frame['n'].max()} sentences.",
                "Difference in log-probability by state, with intervals",
                SQL,
                _draw,
            ),
            Table(
                "order-table",
                "The numbers",
                "Bars and brackets: 95% intervals, sentences resampled.",
                SQL,
                {
                    "role": Column("state"),
                    "step": Column("step", "number", digits=0),
                    "estimate": Column("difference", "interval", low="low", high="high"),
                    "n": Column("n", "number", digits=0),
                    "p": Column("p", "p"),
                    "detectable": FINDS,
                },
            ),
        ],
        methods=[
            "Mean log-probability a token of each sentence and of random orders of its words."
        ],
        limitations=["A handful of sentences."],
    )


def _draw(frame: pl.DataFrame) -> Drawing:
    figure, axes = panels(height=0.7 + 0.3 * frame.height)
    forest(axes[0, 0], frame, "role", reference=0.0)
    axes[0, 0].set_xlabel("nats a token, ordered minus shuffled")
    return figure
