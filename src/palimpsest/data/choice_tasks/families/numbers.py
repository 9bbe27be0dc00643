"""Numbers: which is more, what is the sum, even or odd."""

from __future__ import annotations

from palimpsest.data.choice_tasks.contents import TABLE, YES_NO, Content, Task

_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty"
).split()
_SPAN = 12


def _comparison() -> list[Content]:
    """Two numbers of the same range of twelve, so that no range is in another topic."""
    contents = []
    for low in range(10, 10 + 7 * _SPAN, _SPAN):
        numbers = range(low, low + _SPAN)
        contents += [
            Content(
                topic=f"{low} to {low + _SPAN - 1}",
                fill=(str(a), str(b), word),
                right="yes" if (a > b) == (word == "more") else "no",
                key=f"{min(a, b)} {max(a, b)}",
            )
            for a in numbers
            for b in numbers
            if a != b
            for word in ("more", "less")
        ]
    return contents


def _arithmetic() -> list[Content]:
    """Sums up to twenty in words; what is wrong is less than three away from the truth."""
    contents = []
    for a in range(1, 20):
        for b in range(1, 21 - a):
            total = a + b
            near = [n for n in range(total - 2, total + 3) if n != total and 2 <= n <= 20]
            contents.append(
                Content(
                    topic=f"sum {_WORDS[total]}",
                    fill=(_WORDS[a], _WORDS[b]),
                    right=_WORDS[total],
                    wrong=tuple(_WORDS[n] for n in near),
                    key=f"{min(a, b)} {max(a, b)}",
                )
            )
    return contents


def _parity() -> list[Content]:
    """Numbers of three digits, each of which can be changed; no ten is in two splits."""
    return [
        Content(
            topic=f"{n // 100} hundred",
            fill=(str(n),),
            right="odd" if n % 2 else "even",
            key=str(n // 10),
            slots=tuple(str(n)),
        )
        for n in range(100, 1000)
    ]


TASKS = {
    "number_comparison": Task(
        family="numbers",
        summary="whether a number is more, or less, than another",
        templates=(
            "Is {0} {2} than {1}?",
            "{0} is {2} than {1}:",
            "We ask if {0} is {2} than {1}:",
        ),
        held_out=(
            "Is ${0} {2} money than ${1}?",
            "Are {0} apples {2} than {1} apples?",
            "Compared with {1}, is {0} {2}?",
        ),
        contents=_comparison,
        labels=YES_NO,
    ),
    "arithmetic": Task(
        family="numbers",
        summary="sum of two numbers in words",
        templates=(
            "{0} plus {1} is",
            "{0} and {1} make",
            "The sum of {0} and {1} is",
            "Add {0} to {1} and you get",
        ),
        held_out=(
            "{0} apples and {1} apples are",
            "After {0} comes {1} more; in all",
            "When you count {0} and then {1}, you have",
        ),
        contents=_arithmetic,
        choices=3,
        most=TABLE,
    ),
    "parity": Task(
        family="numbers",
        summary="whether a number of three digits is even or odd",
        templates=(
            "The number {0} is",
            "Even or odd? {0} is",
            "{0}: this number is",
        ),
        held_out=(
            "Is {0} even or odd?",
            "We call {0}",
            "My house has the number {0}, which is",
        ),
        contents=_parity,
        labels=("even", "odd"),
    ),
}
