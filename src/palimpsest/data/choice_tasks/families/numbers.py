"""Numbers: which is more, what is the sum, what comes next."""

from __future__ import annotations

from palimpsest.data.choice_tasks.contents import Content, Task

_SPAN = 20


def _comparison() -> list[Content]:
    """Two numbers of the same range; no number is in two ranges."""
    return [
        Content(
            topic=f"{low} to {low + _SPAN - 1}",
            fill=(str(a), str(b)),
            right=str(max(a, b)),
            wrong=(str(min(a, b)),),
            key=f"{min(a, b)} {max(a, b)}",
        )
        for low in range(10, 90, _SPAN)
        for a in range(low, low + _SPAN)
        for b in range(low, low + _SPAN)
        if a != b
    ]


def _others(right: int, least: int, most: int) -> tuple[str, ...]:
    """Numbers of two digits that are so far from the right one."""
    return tuple(str(n) for n in range(10, 100) if least <= abs(n - right) <= most)


def _arithmetic() -> list[Content]:
    """A number of two digits and one of one; tens are topics."""
    return [
        Content(
            topic=f"{a // 10} tens",
            fill=(str(a), str(b)),
            right=str(a + b),
            wrong=_others(a + b, 6, 25),
        )
        for a in range(10, 90)
        for b in range(1, 10)
    ]


def _sequence() -> list[Content]:
    """Three numbers at equal distances, which are topics."""
    return [
        Content(
            topic=f"steps of {step}",
            fill=(f"{start}, {start + step}, {start + 2 * step},",),
            right=str(start + 3 * step),
            wrong=_others(start + 3 * step, 2, 5),
            slots=(str(start), str(step)),
        )
        for step in range(1, 11)
        for start in range(10, 68)
    ]


TASKS = {
    "number_comparison": Task(
        family="numbers",
        summary="which of two numbers is larger",
        templates=(
            "Which is larger, {0} or {1}?",
            "The larger of {0} and {1} is",
            "{0} or {1}: more is",
        ),
        held_out=(
            "Of {0} and {1}, the greater is",
            "What is higher, {0} or {1}? It is",
            "Among {0} and {1}, the maximum:",
        ),
        contents=_comparison,
    ),
    "arithmetic": Task(
        family="numbers",
        summary="sum of two numbers",
        templates=(
            "{0} + {1} =",
            "{0} plus {1} is",
            "The sum of {0} and {1} is",
            "Add {0} to {1} and you get",
        ),
        held_out=(
            "{0} and {1} make",
            "Let x = {0} + {1}. Then x =",
            "Counting {0} and {1} together gives",
        ),
        contents=_arithmetic,
        choices=3,
    ),
    "sequence": Task(
        family="numbers",
        summary="next of numbers at equal distances",
        templates=(
            "{0}",
            "Go on: {0}",
            "We count {0}",
        ),
        held_out=(
            "Pattern: {0}",
            "After {0} comes",
            "Numbers {0}",
        ),
        contents=_sequence,
        choices=3,
    ),
}
