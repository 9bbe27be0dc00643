"""CPU threads of a job: as many as Snakemake granted, for every library that makes its own.

Most libraries read their number from the environment, once, when they are imported; so a job says
it before it imports any. Snakemake sets the variables of linear algebra, not those of polars and
of the tokenizers. DuckDB and torch's pool between operators know no variable: whoever opens the
one (``evidence``) and starts the other (``engine.devices``) asks here or is told.
"""

from __future__ import annotations

import os

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)


def limit(threads: int) -> None:
    """Libraries imported from now on, and processes started, use no more than so many threads."""
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    if threads == 1:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"


def granted() -> int | None:
    """Threads that this process was granted; None where nobody has said."""
    number = os.environ.get("OMP_NUM_THREADS", "")
    return int(number) if number.isdecimal() and int(number) else None
