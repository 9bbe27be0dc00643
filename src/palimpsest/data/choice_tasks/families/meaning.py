"""Meaning: who does what in a sentence."""

from __future__ import annotations

from itertools import permutations

from palimpsest.data.choice_tasks.contents import Content, Task, table

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


def _doer() -> list[Content]:
    """Active and passive sentences with two names; one of them did it."""
    return [
        Content(
            topic=topic,
            fill=(sentence,),
            right=doer,
            wrong=(one if doer == other else other,),
            key=f"{past} {min(one, other)} {max(one, other)}",
            slots=(one, past, other, voice),
        )
        for topic, verbs in _VERBS.items()
        for past, participle in verbs
        for one, other in permutations(_NAMES, 2)
        for voice, sentence, doer in (
            ("active", f"{one} {past} {other}", one),
            ("passive", f"{one} was {participle} by {other}", other),
        )
    ]


TASKS = {
    "doer": Task(
        family="meaning",
        summary="who did it, in an active or passive sentence",
        templates=(
            "{0}. The doer is",
            "{0}. Who did it?",
            "If {0}, the blame goes to",
        ),
        held_out=(
            "{0}. It was done by",
            "{0}. So the one who acted is",
            "We hear that {0}. The act was by",
        ),
        contents=_doer,
    ),
}
