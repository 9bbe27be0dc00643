"""Science: classes of animals and symbols of chemical elements."""

from __future__ import annotations

from palimpsest.data.choice_tasks.contents import TABLE, Content, Task, table

_CLASSES = table(
    """
    mammal of farm and house: cow, horse, pig, goat, sheep, donkey, cat, dog, hamster, rabbit
    mammal of the forest: deer, bear, wolf, fox, squirrel, moose, raccoon, badger, beaver, otter
    mammal of the south: elephant, lion, giraffe, zebra, monkey, kangaroo, camel, koala, rhino,
    panda
    bird of house and water: hen, duck, goose, turkey, swan, gull, pelican, heron, stork,
    flamingo
    bird of prey and night: eagle, hawk, falcon, owl, vulture, condor, raven, crow, magpie, kite
    bird of garden and south: robin, sparrow, pigeon, parrot, ostrich, penguin, peacock, finch,
    canary, cuckoo
    fish of rivers: trout, carp, pike, perch, catfish, goldfish, guppy, eel, piranha, minnow
    fish of cold seas: salmon, cod, herring, haddock, halibut, flounder, sole, mackerel,
    sturgeon, sardine
    fish of warm seas: tuna, shark, anchovy, grouper, snapper, swordfish, marlin, barracuda,
    seahorse, stingray
    insect that flies: bee, wasp, fly, mosquito, moth, butterfly, dragonfly, hornet, gnat,
    bumblebee
    insect that crawls: ant, beetle, cockroach, termite, flea, louse, earwig, silverfish, aphid,
    weevil
    insect that hops and hides: grasshopper, cricket, locust, mantis, cicada, firefly, ladybug,
    bedbug, mayfly, katydid
    """
)
_SYMBOLS = table(
    """
    gas: hydrogen H, helium He, nitrogen N, oxygen O, fluorine F, neon Ne, chlorine Cl, argon
    Ar, krypton Kr, xenon Xe, radon Rn
    light metal: lithium Li, sodium Na, potassium K, rubidium Rb, cesium Cs, beryllium Be,
    magnesium Mg, calcium Ca, strontium Sr, barium Ba, radium Ra, aluminum Al
    solid: boron B, carbon C, silicon Si, phosphorus P, sulfur S, selenium Se, iodine I, arsenic
    As, germanium Ge, tellurium Te, antimony Sb, bromine Br
    first row: titanium Ti, chromium Cr, manganese Mn, iron Fe, cobalt Co, nickel Ni, copper Cu,
    zinc Zn, vanadium V, scandium Sc, gallium Ga
    heavy metal: silver Ag, gold Au, mercury Hg, lead Pb, tin Sn, platinum Pt, tungsten W,
    cadmium Cd, bismuth Bi, iridium Ir, osmium Os, thallium Tl
    second row: zirconium Zr, molybdenum Mo, palladium Pd, rhodium Rh, ruthenium Ru, niobium Nb,
    yttrium Y, indium In, tantalum Ta, hafnium Hf, rhenium Re
    rare earth: lanthanum La, cerium Ce, neodymium Nd, europium Eu, gadolinium Gd, terbium Tb,
    erbium Er, samarium Sm, ytterbium Yb, thulium Tm, holmium Ho
    radioactive: uranium U, plutonium Pu, thorium Th, polonium Po, americium Am, curium Cm,
    einsteinium Es, fermium Fm, neptunium Np, californium Cf, technetium Tc
    """
)
_NAMED = ("mammal", "bird", "fish", "insect")


def _animal_class() -> list[Content]:
    return [
        Content(topic=topic, fill=(animal,), right=topic.split()[0])
        for topic, rows in _CLASSES.items()
        for (animal,) in rows
    ]


def _symbols() -> list[Content]:
    """Wrong are symbols of elements of the same group."""
    return [
        Content(
            topic=topic,
            fill=(element,),
            right=symbol,
            wrong=tuple(other for _, other in rows if other != symbol),
        )
        for topic, rows in _SYMBOLS.items()
        for element, symbol in rows
    ]


TASKS = {
    "animal_class": Task(
        family="science",
        summary="class of an animal",
        templates=(
            "Biology: the {0} is classed as",
            "The {0} is a kind of",
            "The class of the {0} is",
            "To biologists, the {0} is a",
        ),
        held_out=(
            "In a zoo, the {0} would be labelled",
            "Is the {0} a bird, insect, fish or mammal? A",
            "What sort of animal is the {0}? A",
            "Like others of its class, the {0} is a",
        ),
        contents=_animal_class,
        labels=_NAMED,
        most=TABLE,
    ),
    "element_symbols": Task(
        family="science",
        summary="symbol of a chemical element",
        templates=(
            "The symbol of {0} is",
            "In formulas, {0} is written",
            "Chemists write {0} as",
            "{0} has the symbol",
            "Chemical symbol for {0}:",
        ),
        held_out=(
            "The periodic table shows {0} as",
            "What stands for {0} in chemistry?",
            "{0}, abbreviated",
            "One atom of {0} is noted as",
        ),
        contents=_symbols,
        choices=4,
        most=TABLE,
    ),
}
