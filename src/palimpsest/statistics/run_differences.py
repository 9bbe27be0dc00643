"""What changed between two runs, beyond noise: many comparisons at once, from counts and moments.

A comparison is one metric of one group in one condition, measured by both runs. What varies by
chance decides the unit: replicates where there are any, else items. Everything is vectorised over
comparisons; arrays have shape (comparisons,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from scipy.special import binom, stdtr, stdtrit

from palimpsest.statistics import run_shares
from palimpsest.statistics.multiplicity import benjamini_hochberg
from palimpsest.statistics.power import detectable_difference

#: Numbers this close, relative to the largest, are the same number in another order of summation.
DUST = 1e-12
#: From so many families of items on, families are the unit.
LEAST_FAMILIES = 5
#: From so many replicates in both runs on, replicates with items of their own are paired.
LEAST_MATCHED = 3


@dataclass(frozen=True)
class Contrast:
    """A difference new - old with its variance and degrees of freedom, arrays (comparisons,).

    ``least_p`` is the smallest two-sided p that permuting (or flipping the signs of) so many units
    can give: the p-value where there is no spread at all.
    """

    difference: np.ndarray
    variance: np.ndarray
    dof: np.ndarray
    least_p: np.ndarray

    def where(self, chosen: np.ndarray, other: Contrast) -> Contrast:
        """This contrast where ``chosen``, else the other."""
        names = ("difference", "variance", "dof", "least_p")
        pairs = [(getattr(self, name), getattr(other, name)) for name in names]
        return Contrast(*(np.where(chosen, mine, its) for mine, its in pairs))


def one_sample(mean: ArrayLike, variance: ArrayLike, n: ArrayLike) -> Contrast:
    """Mean of ``n`` independent differences with sample ``variance``: Student's t.

    Fewer than two differences give no variance (nan).
    """
    mean, variance, n = _floats(mean, variance, n)
    enough = n >= 2
    least = np.minimum(1.0, 2 * 0.5 ** np.where(enough, n, 0))
    return Contrast(mean, np.where(enough, variance / np.maximum(n, 1), np.nan), n - 1, least)


def two_samples(
    old: tuple[ArrayLike, ArrayLike, ArrayLike], new: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> Contrast:
    """Difference of two means of independent units; each of mean, sample variance, n.

    Where both runs have equally many units the pooled t test, which then hardly feels unequal
    variances; else Welch's (1947, Biometrika 34, 28) with Satterthwaite's degrees of freedom.
    Fewer than two units in a run give no variance (nan).
    """
    mean_a, variance_a, n_a = _floats(*old)
    mean_b, variance_b, n_b = _floats(*new)
    enough = (n_a >= 2) & (n_b >= 2)
    part_a, part_b = variance_a / n_a, variance_b / n_b
    unequal = _satterthwaite((part_a, n_a - 1), (part_b, n_b - 1))
    dof = np.where(n_a == n_b, n_a + n_b - 2, unequal)
    least = np.minimum(1.0, 2 / binom(n_a + n_b, n_a))
    return Contrast(mean_b - mean_a, np.where(enough, part_a + part_b, np.nan), dof, least)


def widened(contrast: Contrast, other: Contrast) -> Contrast:
    """``contrast`` with the variance of a second source of noise added, as of other items.

    The noise of single rows is in both parts and is counted twice, so the interval is cautious.
    """
    dof = _satterthwaite((contrast.variance, contrast.dof), (other.variance, other.dof))
    variance = contrast.variance + other.variance
    return Contrast(contrast.difference, variance, dof, contrast.least_p)


def inference(
    contrast: Contrast, margin: ArrayLike, extent: ArrayLike, n: ArrayLike, level: float = 0.95
) -> dict[str, np.ndarray]:
    """Interval, two-sided p, and the p of two one-sided tests that the change is inside ``margin``.

    Where all ``n`` paired differences are 0, a change of the mean by ``margin`` would need at least
    a share margin / extent of pairs that differ, and none was seen: p = (1 - margin / extent)^n.
    ``extent`` is the largest difference that two values can have. Any other lack of spread gives
    the smallest p that the number of units allows, and an interval only where that reaches the
    level. Schuirmann (1987, J. Pharmacokinet. Biopharm. 15, 657) for the equivalence tests.

    Returns:
        low, high, p, p_same, detectable (the change found with power 80%, before any correction);
        nan where the variance is unknown, ``detectable`` also where there is no spread.
    """
    margin, extent, n = _floats(margin, extent, n)
    difference, known = contrast.difference, ~np.isnan(contrast.variance)
    error = np.sqrt(contrast.variance)
    spread = error > DUST * np.maximum(extent, 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        half = stdtrit(contrast.dof, (1 + level) / 2) * error
        p = 2 * stdtr(contrast.dof, -np.abs(difference) / error)
        p_same = stdtr(contrast.dof, (np.abs(difference) - margin) / error)
        unseen = np.clip(1 - margin / extent, 0, 1) ** n
        reach = extent * (1 - ((1 - level) / 2) ** (1 / n))
    moved = np.abs(difference) > DUST * extent
    reachable = contrast.least_p <= 1 - level
    still_half = np.where(moved, np.where(reachable, 0.0, np.nan), reach)
    still_same = np.where(
        moved, np.where(np.abs(difference) < margin, contrast.least_p / 2, 1.0), unseen
    )
    found = detectable_difference(np.where(spread, half, np.nan), level, contrast.dof)
    half = np.where(spread, half, still_half)
    return {
        "low": np.where(known, difference - half, np.nan),
        "high": np.where(known, difference + half, np.nan),
        "p": np.where(known, np.where(spread, p, np.where(moved, contrast.least_p, 1.0)), np.nan),
        "p_same": np.where(known, np.where(spread, p_same, still_same), np.nan),
        "detectable": np.where(known, found, np.nan),
    }


def compared(
    moments: pl.DataFrame,
    margin_share: float = 0.05,
    margin_spread: float = 0.2,
    alpha: float = 0.05,
) -> pl.DataFrame:
    """Verdicts on all comparisons of two runs: changed, the same, cannot tell.

    "The same" says that the change is below the margin of its row, which for metrics other than
    shares comes from the spread of these data. Items that are all 0 or 1 are compared as shares
    (``run_shares``): t tests would call rare changes none far too often.

    Args:
        moments: as ``evidence.two_runs.TwoRuns.moments`` gives them.
        margin_share: differences below it count as none where all values lie in [0, 1].
        margin_spread: the same for other metrics, in standard deviations of single values.
        alpha: false discovery rate of "changed" and, apart, of "the same" (Benjamini-Hochberg).

    Returns:
        One row a comparison, the clearest first: its place, old, new, difference, low, high (95%),
        n_old, n_new, unit, p, q, p_same, q_same, detectable, margin, spread, verdict, note.

    Raises:
        ValueError: a margin is not positive.
    """
    for name, value in (("margin_share", margin_share), ("margin_spread", margin_spread)):
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value}")
    m = {name: moments[name].to_numpy() for name in moments.columns}
    chosen = _chosen(m)
    extent = np.maximum(m["most"] - m["least"], 0.0)
    share = (m["least"] >= 0) & (m["most"] <= 1)
    margin = np.where(share, margin_share, margin_spread * m["spread"])
    results = inference(chosen["contrast"], margin, extent, chosen["n_old"])
    results = _of_shares(m, chosen, results, margin)
    identical = m["unequal"] == 0
    untold = chosen["single"] | identical
    p = np.where(untold, np.nan, results["p"])
    p_same = np.where(untold, np.nan, results["p_same"])
    q, q_same = benjamini_hochberg(p), benjamini_hochberg(p_same)
    changed, same = q <= alpha, (q_same <= alpha) | identical
    verdict = np.where(changed, "changed", np.where(same, "the same", "cannot tell"))
    difference = np.where(identical, 0.0, chosen["contrast"].difference)
    frame = moments.select("same_cells", *_places(moments)).with_columns(
        old=chosen["old"],
        new=chosen["old"] + difference,
        difference=difference,
        low=np.where(identical, difference, results["low"]),
        high=np.where(identical, difference, results["high"]),
        n_old=chosen["n_old"].astype(int),
        n_new=chosen["n_new"].astype(int),
        unit=pl.Series(chosen["unit"], dtype=pl.String),
        paired=chosen["paired"],
        p=p,
        q=q,
        p_same=p_same,
        q_same=q_same,
        detectable=np.where(untold, np.nan, results["detectable"]),
        margin=margin,
        spread=m["spread"],
        verdict=pl.Series(verdict, dtype=pl.String),
        note=pl.Series(
            _notes(chosen["single"], identical, changed, difference, margin), dtype=pl.String
        ),
    )
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None)).sort(
        pl.col("verdict").replace_strict({"changed": 0, "cannot tell": 1, "the same": 2}),
        "p",
        *_places(moments),
        nulls_last=True,
    )


def _chosen(m: dict[str, np.ndarray]) -> dict[str, np.ndarray | Contrast]:
    """For each comparison the contrast that its replicates and items allow."""
    replicated = (m["old_units"] >= 2) & (m["new_units"] >= 2)
    by_replicate = m["random"] & ~m["same_cells"] & replicated
    common, numbered = m["common"], m["numbered"]
    matched = by_replicate & numbered & common & (m["matched"] >= LEAST_MATCHED)
    others = by_replicate & ~numbered & ~common
    families = ~by_replicate & common & (m["families"] >= LEAST_FAMILIES)
    pairs = ~by_replicate & common & ~families
    apart = ~by_replicate & ~common
    ways = [matched, others, families, pairs, apart]

    replicates = two_samples(*(_moments_of(m, run, "") for run in ("old", "new")))
    items = two_samples(*(_moments_of(m, run, "_item") for run in ("old", "new")))
    contrasts = [
        _one(m, "matched"),
        widened(replicates, items),
        _one(m, "family"),
        _one(m, "pair"),
        items,
    ]
    contrast = replicates
    for where, way in zip(ways, contrasts, strict=True):
        contrast = way.where(where, contrast)

    old_units, new_units, of_pairs = m["old_units"], m["new_units"], [m["families"], m["pairs"]]
    of_old = ["matched_old", "old_mean", "family_old", "pair_old", "old_item_mean"]
    units = ["replicates", "replicates and items", "families", "items", "items"]
    return {
        "contrast": contrast,
        "old": np.select(ways, [m[name] for name in of_old], m["old_mean"]),
        "n_old": np.select(ways, [m["matched"], old_units, *of_pairs, m["old_items"]], old_units),
        "n_new": np.select(ways, [m["matched"], new_units, *of_pairs, m["new_items"]], new_units),
        "unit": np.select(ways, units, "replicates"),
        "paired": matched | families | pairs,
        "pairs": pairs,
        "apart": apart,
        "single": m["random"] & ~m["same_cells"] & ~replicated & ~m["same_states"],
    }


def _of_shares(
    m: dict[str, np.ndarray],
    chosen: dict[str, np.ndarray | Contrast],
    results: dict[str, np.ndarray],
    margin: np.ndarray,
) -> dict[str, np.ndarray]:
    """``results`` with those of shares where the units are items of 0 or 1."""
    runs = [_moments_of(m, run, "_item") for run in ("old", "new")]
    shares = (m["least"] >= 0) & (m["most"] <= 1)
    shares &= np.logical_and(*(run_shares.are_shares(*run) for run in runs))
    paired, apart = (np.flatnonzero(shares & chosen[way]) for way in ("pairs", "apart"))
    results = {name: values.copy() for name, values in results.items()}
    pairs = (m[name][paired].astype(float) for name in ("pair_mean", "pair_variance", "pairs"))
    old, new = ((mean[apart], n[apart].astype(float)) for mean, _, n in runs)
    for at, found in (
        (paired, run_shares.paired(*pairs, margin[paired], 0.95)),
        (apart, run_shares.apart(old, new, margin[apart], 0.95)),
    ):
        for name, values in found.items():
            known = ~np.isnan(chosen["contrast"].variance[at])
            results[name][at] = np.where(known, values, np.nan)
    return results


def _moments_of(m: dict[str, np.ndarray], run: str, of: str) -> tuple[np.ndarray, ...]:
    count = m[f"{run}_items"] if of else m[f"{run}_units"]
    return m[f"{run}{of}_mean"], m[f"{run}{of}_variance"], count


def _one(m: dict[str, np.ndarray], of: str) -> Contrast:
    count = {"matched": "matched", "family": "families", "pair": "pairs"}[of]
    return one_sample(m[f"{of}_mean"], m[f"{of}_variance"], m[count])


def independent_difference(
    old: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    new: tuple[ArrayLike, ArrayLike, ArrayLike, ArrayLike],
    level: ArrayLike = 0.95,
) -> dict[str, np.ndarray]:
    """Difference of two independent estimates from their own intervals: MOVER.

    Zou & Donner (2008, Stat. Med. 27, 1693, eq. 8 and 9), which keeps intervals that are not
    symmetric. ``p`` is two-sided and agrees with the interval at its level; beyond, it follows a t
    with Satterthwaite's degrees of freedom from the numbers of units.

    Args:
        old: estimate, low, high, n of the first; arrays (estimates,), nan where there is none.
        new: the same of the second.
        level: of the intervals.

    Returns:
        difference, low, high, p, detectable (what a two-sided test at 5% finds with power 80%, by
        the longer half of the interval).
    """
    (a, a_low, a_high, a_n), (b, b_low, b_high, b_n) = _floats(*old), _floats(*new)
    difference = b - a
    below, above = np.hypot(b - b_low, a_high - a), np.hypot(b_high - b, a - a_low)
    toward_zero, longer = np.where(difference > 0, below, above), np.maximum(below, above)
    tail = (1 + np.asarray(level)) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        part_a = ((a_high - a_low) / 2 / stdtrit(a_n - 1, tail)) ** 2
        part_b = ((b_high - b_low) / 2 / stdtrit(b_n - 1, tail)) ** 2
        dof = _satterthwaite((part_a, a_n - 1), (part_b, b_n - 1))
        t = stdtrit(dof, tail) * np.abs(difference) / toward_zero
        p = np.where(difference == 0, 1.0, 2 * stdtr(dof, -t))
    p = np.where((a_n >= 2) & (b_n >= 2) & np.isfinite(toward_zero), p, np.nan)
    return {
        "difference": difference,
        "low": difference - below,
        "high": difference + above,
        "p": p,
        "detectable": np.where(np.isnan(p), np.nan, detectable_difference(longer, level, dof)),
    }


def _places(moments: pl.DataFrame) -> list[str]:
    names = ("study", "model", "role", "experiment", "condition", "step", "grp", "metric")
    return [name for name in names if name in moments.columns]


def _notes(
    single: np.ndarray,
    identical: np.ndarray,
    changed: np.ndarray,
    difference: np.ndarray,
    margin: np.ndarray,
) -> list[str | None]:
    """What the reader must know of each verdict."""
    small = changed & (np.abs(difference) < margin)
    words = np.select(
        [identical, single, small],
        [
            "every number is the same",
            "one replicate in a run: what another seed does is unknown; the interval is of items",
            "smaller than the margin",
        ],
        "",
    )
    return [word or None for word in words.tolist()]


def _satterthwaite(*parts: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Degrees of freedom of a sum of variances, each with its own; all of them without spread."""
    total = sum(part for part, _ in parts)
    with np.errstate(divide="ignore", invalid="ignore"):
        dof = total**2 / sum(part**2 / dof for part, dof in parts)
    return np.where(total > 0, dof, sum(dof for _, dof in parts))


def _floats(*values: ArrayLike) -> list[np.ndarray]:
    return [np.asarray(value, dtype=float) for value in values]
