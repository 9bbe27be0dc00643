"""Meaning: whether two sentences say the same."""

from __future__ import annotations

from itertools import permutations

from palimpsest.data.choice_tasks.contents import YES_NO, Content, Task, table

# past, participle
_VERBS = table(
    """
    fight: hit hit, kicked kicked, beat beaten, attacked attacked, pushed pushed
    help: helped helped, saved saved, taught taught, thanked thanked, fed fed
    love: loved loved, kissed kissed, hugged hugged, married married, missed missed
    senses: saw seen, heard heard, watched watched, found found, noticed noticed
    talk: called called, told told, asked asked, blamed blamed, warned warned
    travel: followed followed, met met, passed passed, led led, visited visited
    trust: trusted trusted, tricked tricked, robbed robbed, cheated cheated, betrayed betrayed
    work: paid paid, hired hired, fired fired, sued sued, trained trained
    """
)
_NAMES = ("Tom", "Ann", "Sam", "Kim")


def _paraphrase() -> list[Content]:
    """An active and a passive sentence, with the same roles or with roles exchanged."""
    return [
        Content(
            topic=topic,
            fill=(one, past, other, *roles, participle),
            right="yes" if roles == (other, one) else "no",
            key=f"{one} {past} {other}",
            slots=(one, past, other, "same" if roles == (other, one) else "exchanged"),
        )
        for topic, verbs in _VERBS.items()
        for past, participle in verbs
        for one, other in permutations(_NAMES, 2)
        for roles in ((other, one), (one, other))
    ]


TASKS = {
    "paraphrase": Task(
        family="meaning",
        summary="whether a passive sentence says the same as an active one",
        templates=(
            "{0} {1} {2}. Was {3} {5} by {4}?",
            "{0} {1} {2}, so {3} was {5} by {4}:",
            "{0} {1} {2} = {3} was {5} by {4}?",
        ),
        held_out=(
            "If {0} {1} {2}, was {3} {5} by {4}?",
            "I hear {0} {1} {2}. So {3} was {5} by {4}:",
            "{0} {1} {2}. Did {3} get {5} by {4}?",
        ),
        contents=_paraphrase,
        labels=YES_NO,
    ),
}
