"""The forms of forgetting: retained memory R(t) after a delay of t >= 0 updates.

    power        a (1 + t)^-b                     Wixted & Ebbesen 1991, Psychol. Sci. 2, 409
    exponential  a e^(-b t)
    logarithmic  a - b ln(1 + t), cut at 0        Wixted & Ebbesen 1991; the corner is rounded
    permastore   c + (a - c) (1 + t)^-b           Bahrick 1984, J. Exp. Psychol. Gen. 113, 1
    constant     a

with a in [0, 1], b >= 0 and 0 <= c <= a, so that memory never grows. A fit works with the
coordinates (a, ln b, c / a): the rate on a log scale has no unit, and all bounds are plain ones.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from scipy.special import expit

Form = Literal["power", "exponential", "logarithmic", "permastore", "constant"]
FORMS: tuple[Form, ...] = get_args(Form)
#: a rate at its lower bound has lost this share by the longest delay, and one that has lost less
#: than NO_LOSS counts as 0
LEAST_LOSS, NO_LOSS = 1e-4, 1e-3
#: a rate at its upper bound has lost this many factors of e by the first delay above 0
MOST_LOSS = 30.0

#: rounding of the corner where the logarithmic form is cut, R is 0.007
#: there instead of 0 and soon vanishes, which data cannot show, and the likelihood stays smooth
CORNER = 0.01
#: rates tried as starts, evenly spaced on the log scale between the bounds that data can resolve
START_RATES = 16
START_LEVELS = (0.3, 0.6, 0.9)
START_SHARES = (0.02, 0.15, 0.5)


def parameter_names(form: Form) -> tuple[str, ...]:
    """Names of the parameters of ``form``, in the order of its coordinates."""
    return {"constant": ("a",), "permastore": ("a", "b", "c")}.get(form, ("a", "b"))


def retained(form: Form, theta: np.ndarray, delay: np.ndarray) -> np.ndarray:
    """R at ``delay`` (columns,) of coordinates ``theta`` (fits, k), shape (fits, columns)."""
    a = theta[:, :1]
    if form == "constant":
        return a + 0 * delay
    decay = np.exp(theta[:, 1:2]) * _clock(form, delay)
    if form == "logarithmic":
        return _cut(a - decay)
    share = theta[:, 2:3] if form == "permastore" else 0.0
    return a * (share + (1 - share) * np.exp(-decay))


def derivatives(form: Form, theta: np.ndarray, delay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivatives of R by coordinates, (fits, columns, k) and (.., k, k)."""
    a = theta[:, :1]
    if form == "constant":
        ones = np.ones((len(theta), len(delay), 1))
        return ones, 0 * ones[..., None]
    decay = np.exp(theta[:, 1:2]) * _clock(form, delay)
    if form == "logarithmic":
        moving = expit((a - decay) / CORNER)
        bend = moving * (1 - moving) / CORNER
        second = [[bend, -decay * bend], [-decay * bend, decay**2 * bend - decay * moving]]
        return _stack([moving, -decay * moving]), _stack_square(second)
    kept = np.exp(-decay)
    sunk = decay * kept
    if form != "permastore":
        second = [[0 * kept, -sunk], [-sunk, a * sunk * (decay - 1)]]
        return _stack([kept, -a * sunk]), _stack_square(second)
    share = theta[:, 2:3]
    left = 1 - share
    first = [share + left * kept, -a * left * sunk, a * (1 - kept)]
    second = [
        [0 * kept, -left * sunk, 1 - kept],
        [-left * sunk, a * left * sunk * (decay - 1), a * sunk],
        [1 - kept, a * sunk, 0 * kept],
    ]
    return _stack(first), _stack_square(second)


def bounds(form: Form, delay: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates, both (k,), for data at these delays."""
    if form == "constant":
        return np.array([0.0]), np.array([1.0])
    clock = _distinct(_clock(form, delay))
    slow, fast = LEAST_LOSS / clock.max(), MOST_LOSS / clock[clock > 0].min()
    low, high = [0.0, np.log(slow)], [1.0, np.log(fast)]
    if form == "permastore":
        low, high = [*low, 0.0], [*high, 1.0]
    return np.array(low), np.array(high)


def starts(form: Form, delay: np.ndarray) -> np.ndarray:
    """A grid of coordinates to start from, shape (starts, k)."""
    levels = np.array(START_LEVELS)
    if form == "constant":
        return levels[:, None]
    clock = _distinct(_clock(form, delay))
    slow, fast = 0.05 / clock.max(), 3 / clock[clock > 0].min()
    axes = [levels, np.linspace(np.log(slow), np.log(fast), START_RATES)]
    if form == "permastore":
        axes.append(np.array(START_SHARES))
    return np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)


def parameters(form: Form, theta: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Coordinates (fits, k) as a, b, c; a rate near its lower bound ``low`` is 0."""
    values = theta.copy()
    if form == "constant":
        return values
    none = low[1] + np.log(NO_LOSS / LEAST_LOSS)
    values[:, 1] = np.where(theta[:, 1] <= none, 0.0, np.exp(theta[:, 1]))
    if form == "permastore":
        values[:, 2] = values[:, 0] * theta[:, 2]
    return values


def curve(form: Form, values: np.ndarray, delay: np.ndarray) -> np.ndarray:
    """R at ``delay`` (columns,) from parameters a, b, c (fits, k), shape (fits, columns)."""
    a = values[:, :1]
    if form == "constant":
        return a + 0 * delay
    b = values[:, 1:2]
    if form == "logarithmic":
        return _cut(a - b * np.log1p(delay))
    if form == "exponential":
        return a * np.exp(-b * delay)
    asymptote = values[:, 2:3] if form == "permastore" else 0.0
    return asymptote + (a - asymptote) * (1 + delay) ** -b


def rescaled(form: Form, values: np.ndarray, scale: float) -> np.ndarray:
    """Parameters of scale * R: all but the rate, which is a loss of R only if logarithmic."""
    factors = np.full(values.shape[1], scale)
    if values.shape[1] > 1 and form != "logarithmic":
        factors[1] = 1.0
    return values * factors


def half_life(form: Form, values: np.ndarray) -> np.ndarray:
    """Delay at which R is half of R(0), (fits,); inf where it never is, nan where R(0) is 0."""
    a = values[:, 0]
    if form == "constant":
        return np.where(a > 0, np.inf, np.nan)
    b = values[:, 1]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if form == "exponential":
            delay = np.log(2) / b
        elif form == "logarithmic":
            half = CORNER * np.log(np.expm1(_cut(a) / (2 * CORNER)))  # where the cut form is half
            delay = np.expm1((a - half) / b)
        elif form == "power":
            delay = np.expm1(np.log(2) / b)
        else:
            c = values[:, 2]
            fraction = (a / 2 - c) / (a - c)
            delay = np.where(fraction > 0, np.expm1(-np.log(fraction) / b), np.inf)
    return np.where(a > 0, np.where(b > 0, delay, np.inf), np.nan)


def _cut(r: np.ndarray) -> np.ndarray:
    """max(r, 0) with a rounded corner."""
    return CORNER * np.logaddexp(0.0, r / CORNER)


def _clock(form: Form, delay: np.ndarray) -> np.ndarray:
    """What the rate multiplies: updates for the exponential, ln(1 + updates) for the others."""
    return delay if form == "exponential" else np.log1p(delay)


def _distinct(clock: np.ndarray) -> np.ndarray:
    clock = np.unique(clock)
    if clock.size < 2:
        raise ValueError("a curve needs at least two different delays")
    return clock


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    return np.stack(parts, axis=-1)


def _stack_square(parts: list[list[np.ndarray]]) -> np.ndarray:
    return np.stack([_stack(row) for row in parts], axis=-2)
