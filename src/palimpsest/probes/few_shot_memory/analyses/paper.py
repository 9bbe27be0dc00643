"""The paper's own numbers, read from its author's result files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.probes.few_shot_memory.analyses.frames import Data, Found, Rows
from palimpsest.statistics.intervals import proportion
from palimpsest.statistics.rows import row

if TYPE_CHECKING:
    from palimpsest.probes.few_shot_memory.settings import Settings

#: Learning rate and batch size of each column below.
CONDITIONS = ((1e-4, 1), (1e-4, 16), (1e-5, 1), (1e-5, 16))
#: (model, stimuli, exposures) -> recognition in each condition, mean over four seeds.
RECOGNITION = {
    ("GPT-2 124M", "natural", 1): (0.936, 0.732, 0.630, 0.519),
    ("GPT-2 124M", "natural", 3): (0.996, 0.984, 0.888, 0.590),
    ("GPT-Neo 125M", "natural", 1): (0.975, 0.800, 0.672, 0.533),
    ("GPT-Neo 125M", "natural", 3): (0.997, 0.996, 0.930, 0.637),
    ("OPT 125M", "natural", 1): (0.975, 0.886, 0.798, 0.583),
    ("OPT 125M", "natural", 3): (0.997, 0.996, 0.990, 0.780),
    ("GPT-Neo 125M", "paraphrase", 1): (0.940, 0.645, 0.472, 0.350),
    ("GPT-Neo 125M", "synonym", 1): (0.946, 0.813, 0.728, 0.643),
    ("GPT-Neo 125M", "random_words", 1): (0.956, 0.815, 0.765, 0.568),
    ("GPT-Neo 125M", "random_vs_natural", 1): (0.960, 0.376, 0.041, 0.000),
    ("GPT-Neo 125M", "scrambled", 1): (0.998, 0.415, 0.028, 0.001),
}
#: 600 pairs of each of four lists; of synonyms some were dropped.
PAIRS = {"synonym": 4 * 566}


def published(data: Data, settings: Settings) -> tuple[Rows, Found]:
    """Published recognition, with the intervals that the sample sizes imply."""
    rows: Rows = []
    for (model, stimuli, exposures), values in RECOGNITION.items():
        n = PAIRS.get(stimuli, 2400)
        for (rate, batch), share in zip(CONDITIONS, values, strict=True):
            rows.append(
                row(
                    "paper",
                    model,
                    proportion(round(share * n), n, unit="pairs"),
                    series=stimuli,
                    factor=f"batch {batch}, rate {rate:g}",
                    step=exposures,
                )
            )
    return rows, {}
