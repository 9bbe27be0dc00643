"""Words: their kinds, and which mean the same or the opposite."""

from __future__ import annotations

from palimpsest.data.choice_tasks.contents import TABLE, Content, Task, table

_KINDS = table(
    """
    tool: hammer, saw, drill, shovel, wrench, rake, axe, pliers, screwdriver, chisel, ladder,
    file
    fruit: apple, banana, pear, grape, cherry, mango, peach, plum, lemon, melon, fig, lime
    clothing: shirt, jacket, sock, glove, skirt, scarf, coat, sweater, jeans, dress, vest, cap
    furniture: table, chair, sofa, desk, bed, shelf, stool, bench, couch, cabinet, wardrobe,
    crib
    vehicle: car, truck, bus, tractor, bicycle, train, taxi, van, tram, ambulance, scooter, jeep
    instrument: piano, violin, guitar, flute, drum, trumpet, cello, harp, banjo, organ, tuba,
    horn
    color: red, blue, green, yellow, purple, pink, brown, black, white, gray, violet, crimson
    sport: soccer, tennis, golf, hockey, rugby, cricket, boxing, rowing, skiing, judo, polo,
    surfing
    metal: iron, gold, silver, copper, tin, lead, zinc, nickel, aluminum, steel, brass, bronze
    job: doctor, teacher, nurse, farmer, baker, lawyer, plumber, pilot, tailor, judge, barber,
    cook
    vegetable: carrot, onion, cabbage, potato, spinach, broccoli, celery, pea, leek, radish,
    beet, kale
    weather: rain, snow, wind, fog, hail, storm, thunder, sleet, drizzle, sunshine, frost,
    blizzard
    tree: oak, pine, birch, maple, willow, cedar, elm, beech, fir, poplar, spruce, palm
    drink: water, milk, tea, coffee, juice, wine, beer, cocoa, cider, soda, lemonade, whiskey
    disease: flu, cancer, malaria, measles, cholera, asthma, polio, diabetes, mumps, plague,
    pneumonia, tuberculosis
    dance: waltz, tango, ballet, salsa, polka, samba, rumba, jive, foxtrot, flamenco, mambo,
    minuet
    """
)
# word, another with the same meaning, the opposite
_TRIPLES = table(
    """
    size: big large small, tall high low, wide broad narrow, thick dense thin, long lengthy
    short, huge giant tiny, deep bottomless shallow, massive enormous little
    speed: fast quick slow, sudden abrupt gradual, busy active idle, early soon late, hurry rush
    wait, modern new old, brief short long, rapid swift sluggish
    mood: happy glad sad, calm peaceful angry, brave bold afraid, kind nice cruel, proud vain
    humble, cheerful merry gloomy, friendly loving hostile, polite courteous rude
    mind: smart clever stupid, wise sensible foolish, sane rational mad, careful cautious
    careless, honest truthful dishonest, sure certain doubtful, simple easy difficult, clear
    obvious confusing
    body: strong powerful weak, healthy well sick, alive living dead, awake alert asleep, fat
    chubby thin, pretty beautiful ugly, young youthful old, hungry starving full
    matter: hot warm cold, wet damp dry, hard solid soft, rough coarse smooth, bright shiny
    dark, clean pure dirty, sharp pointed blunt, loud noisy quiet
    deed: begin start end, build make destroy, buy purchase sell, give offer take, win triumph
    lose, help assist hinder, open unlock close, love adore hate
    motion: rise climb fall, push shove pull, enter arrive leave, come approach go, catch grab
    drop, lift raise lower, join connect separate, gather collect scatter
    worth: good great bad, rich wealthy poor, cheap inexpensive costly, right correct wrong,
    rare unusual common, safe secure dangerous, real true fake, famous known unknown
    fullness: full packed empty, whole complete partial, many numerous few, all everything
    nothing, always forever never, more extra less, near close far, first initial last
    """
)


def _categories() -> list[Content]:
    return [
        Content(
            topic=kind,
            fill=(word,),
            right=kind,
            wrong=tuple(other for other in _KINDS if other != kind),
        )
        for kind, rows in _KINDS.items()
        for (word,) in rows
    ]


def _opposites() -> list[Content]:
    contents = []
    for topic, triples in _TRIPLES.items():
        for word, same, opposite in triples:
            for asked, meant in ((word, same), (same, word)):
                contents += [
                    Content(
                        topic=topic,
                        fill=(asked, phrase),
                        right=right,
                        wrong=(wrong,),
                        key=word,
                    )
                    for phrase, right, wrong in (
                        ("the opposite of", opposite, meant),
                        ("a synonym of", meant, opposite),
                    )
                ]
    return contents


TASKS = {
    "word_category": Task(
        family="words",
        summary="kind of thing that a word names",
        templates=(
            "{0} is a kind of",
            "The word {0} names a",
            "Category of {0}:",
            "What is {0}? Some",
        ),
        held_out=(
            "{0} belongs to the group called",
            "Among other things, {0} is one sort of",
            "If you think of {0}, you think of",
        ),
        contents=_categories,
        choices=4,
        most=TABLE,
    ),
    "opposites": Task(
        family="words",
        summary="opposite or synonym of a word, told apart from the other of the two",
        templates=(
            "{1} {0} is",
            "{1} the word {0}:",
            "We look for {1} {0}. It is",
        ),
        held_out=(
            "Give {1} {0}:",
            "What is {1} {0}?",
            "I need {1} {0}, so I say",
        ),
        contents=_opposites,
        most=TABLE,
    ),
}
