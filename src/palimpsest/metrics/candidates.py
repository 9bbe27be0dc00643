"""Alternatives to a published value: foils for a forced choice, falsehoods to plant.

Values are decimal strings as printed ("10.0", "-0.3"), without separators. Alternatives have the
number of decimals of the value and its token length, or its form alone would give it away.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import numpy as np

# Grids up to this size are searched whole, larger ones by as many draws.
_MOST_TRIES = 4096


@dataclass(frozen=True)
class Foils:
    """Distinct alternatives; the last ``n_synthetic`` are not values of the series."""

    values: tuple[str, ...]
    n_synthetic: int


@dataclass(frozen=True)
class FalseValue:
    """A value to be planted in the place of the true one."""

    value: str
    synthetic: bool


def sample_foils(
    values: Sequence[str],
    target: str,
    k: int,
    generator: np.random.Generator,
    min_distance: float,
    token_length: Callable[[str], int],
) -> Foils:
    """Draw k − 1 foils for ``target`` from the values of its series at other dates.

    A foil has the decimals and the token length of the target, differs from it by at least
    ``min_distance`` (and is not equal to it) and from every other foil. Foils are drawn without
    replacement, each *distinct* value being equally likely, so that a value the series took often
    is no more likely than others. If the series has too few, synthetic values follow: drawn
    uniformly from the grid of the target's decimals between the least and the greatest value of
    the series, with as many digits before the point as the target and under the same conditions.

    The result depends on the set of values, not on their order, and on the generator's state.

    Args:
        values: decimal strings of the series; the target and repetitions may be among them.
        target: the published value.
        k: number of alternatives of the forced choice, the target included; at least 2.
        generator: source of randomness.
        min_distance: least distance to the target, in the unit of the series.
        token_length: number of tokens of a string for the model that will choose.

    Raises:
        ValueError: a string that is no plain decimal, k below 2, a negative distance, or too few
            alternatives even with synthetic ones (a narrow range or a large distance). On grids of
            over 4096 values as many draws are made before giving up.
    """
    if k < 2 or not min_distance >= 0:
        raise ValueError(f"k must be at least 2 and min_distance at least 0: {k}, {min_distance}")
    distance = Decimal(repr(float(min_distance)))
    truth = _decimal(target)
    return _draw(
        values,
        target,
        k - 1,
        generator,
        token_length,
        is_far=lambda value: abs(value - truth) >= distance,
    )


def false_value(
    values: Sequence[str],
    true_value: str,
    sd: float,
    generator: np.random.Generator,
    token_length: Callable[[str], int],
    quantile_distance: float | None = None,
) -> FalseValue:
    """A plausible but wrong value: of the same series and form, and far from the truth.

    Far means at least ``sd`` away, or, if ``quantile_distance`` is given, at least that distance
    in the empirical distribution of the series: |F(v) − F(true value)| with F the mid-rank
    distribution function of ``values`` (the better measure for series with a trend). Drawn as
    :func:`sample_foils` draws, a synthetic value only where the series has none.

    Raises:
        ValueError: as :func:`sample_foils`, and for a quantile distance outside 0 to 1.
    """
    if quantile_distance is None:
        foils = sample_foils(values, true_value, 2, generator, sd, token_length)
        return FalseValue(foils.values[0], foils.n_synthetic > 0)
    if not 0 <= quantile_distance <= 1:
        raise ValueError(f"quantile_distance must be in [0, 1], got {quantile_distance}")
    ordered = sorted(_decimal(value) for value in values)

    def quantile(value: Decimal) -> float:
        ranks = bisect_left(ordered, value) + bisect_right(ordered, value)
        return ranks / (2 * len(ordered))

    here = quantile(_decimal(true_value)) if ordered else 0.0
    foils = _draw(
        values,
        true_value,
        1,
        generator,
        token_length,
        is_far=lambda value: abs(quantile(value) - here) >= quantile_distance,
    )
    return FalseValue(foils.values[0], foils.n_synthetic > 0)


def _draw(
    values: Sequence[str],
    target: str,
    n: int,
    generator: np.random.Generator,
    token_length: Callable[[str], int],
    is_far: Callable[[Decimal], bool],
) -> Foils:
    truth, length = _decimal(target), token_length(target)
    known = {truth, *map(_decimal, values)}

    def fits(value: Decimal) -> bool:
        return value != truth and is_far(value) and token_length(f"{value:f}") == length

    same_form = {v for v in map(_decimal, values) if _decimals(v) == _decimals(truth)}
    real = sorted(filter(fits, same_form))
    drawn = [f"{real[i]:f}" for i in generator.permutation(len(real))[:n]]
    synthetic: list[str] = []
    if len(drawn) < n:
        for value in _grid_values(known, truth, generator):
            if value not in known and fits(value):
                known.add(value)
                synthetic.append(f"{value:f}")
            if len(drawn) + len(synthetic) == n:
                break
    if len(drawn) + len(synthetic) < n:
        raise ValueError(
            f"only {len(drawn) + len(synthetic)} of {n} alternatives to {target!r} exist in the "
            "range of the series at this distance, number of digits and token length"
        )
    return Foils((*drawn, *synthetic), len(synthetic))


def _grid_values(
    known: set[Decimal], truth: Decimal, generator: np.random.Generator
) -> Iterator[Decimal]:
    """Values between the extremes of ``known`` with the sign, digits and decimals of ``truth``."""
    step = Decimal(1).scaleb(-_decimals(truth))
    digits = len(str(int(abs(truth))))
    least = Decimal(0) if digits == 1 else Decimal(10) ** (digits - 1)
    most = Decimal(10) ** digits - step
    if truth.is_signed():
        least, most = -most, min(-least, -step)
    low = int((max(least, min(known)) / step).to_integral_value("ROUND_CEILING"))
    high = int((min(most, max(known)) / step).to_integral_value("ROUND_FLOOR"))
    size = high - low + 1
    if size <= _MOST_TRIES:
        steps = generator.permutation(max(size, 0))
    else:
        steps = generator.integers(size, size=_MOST_TRIES)
    for offset in steps:
        yield (low + int(offset)) * step


def _decimal(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or f"{value:f}" != text:
        raise ValueError(f"{text!r} is no plain decimal number")
    return value


def _decimals(value: Decimal) -> int:
    return -int(value.as_tuple().exponent)
