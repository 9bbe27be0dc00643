"""How the next token of a text is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VERSION = 1


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest.
        top_k: only so many of the likeliest; 0: all.
        top_p: only the likeliest that together have this probability (Holtzman et al. 2020).
        seed: of the draws.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"{self}: temperature and top_k must not be negative, top_p in (0, 1]")


def drawn(log_p: np.ndarray, sampling: Sampling, draw: np.random.Generator) -> int:
    """One token by inverse transform: the same uniform number for the same place in a text.

    Args:
        log_p: (words,) log-probabilities, float64.
        sampling: temperature above 0.
        draw: generator of the text.
    """
    scaled = log_p / sampling.temperature
    order = np.argsort(-scaled, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    share = np.exp(scaled[order] - scaled[order[0]])
    total = np.cumsum(share / share.sum())
    if sampling.top_p < 1:
        kept = int(np.searchsorted(total, sampling.top_p)) + 1
        total = total[:kept]
    return int(order[min(np.searchsorted(total, draw.random() * total[-1]), len(total) - 1)])
