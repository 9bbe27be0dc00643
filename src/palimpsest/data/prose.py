"""Real English sentences without a download: the documentation of installed packages.

The sentences come from the docstrings of six packages that Palimpsest depends on anyway. Their
source files are read as text, nothing is imported. Columns of the frame, sorted by id:

========= =================================================================================
id        first 12 hexadecimal digits of the SHA-256 of the text
text      one sentence of 80 to 200 characters and at least 12 words, ending in a full stop
package   distribution that it comes from; of several, the first of :data:`PACKAGES`
version   installed version of that distribution
licence   licence of the distribution; all allow redistribution with attribution
========= =================================================================================

A sentence is kept if it consists of letters, spaces, commas, semicolons, apostrophes and hyphens,
has a finite verb that :data:`VERBS` knows, is no long list, names no single letter, nothing in
capitals or camelCase and few persons, and no sentence before it is nearly the same.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata

import polars as pl

from palimpsest.identity import digest

VERSION = 1

SCHEMA: dict[str, pl.DataType] = {
    "id": pl.String(),
    "text": pl.String(),
    "package": pl.String(),
    "version": pl.String(),
    "licence": pl.String(),
}

#: Distribution -> licence, as its metadata or licence file states it.
PACKAGES = {
    "numpy": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "scikit-learn": "BSD-3-Clause",
    "statsmodels": "BSD-3-Clause",
    "pandas": "BSD-3-Clause",
    "matplotlib": "PSF-based (Matplotlib licence)",
}

LEAST_CHARACTERS, MOST_CHARACTERS, LEAST_WORDS = 80, 200, 12
MOST_COMMAS, MOST_CAPITALS = 4, 4
#: Of two sentences of which this share of the shorter one's runs of three words is also in the
#: other, only one is kept.
NEARLY_SAME = 0.5


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: A sentence needs one of these, or it is taken for a fragment of a list of parameters.
VERBS = _set(
    "is are was were has have had can cannot could will would may might must should does do did "
    "allows affects applies assumes becomes calls calculates causes changes computes consists "
    "contains controls converts corresponds creates defines depends describes determines "
    "differs ensures estimates expects follows generates gives handles happens holds ignores "
    "implements implies includes indicates keeps leads makes matches means needs performs "
    "produces provides raises refers removes replaces represents requires returns runs "
    "satisfies sets shows specifies starts stores supports takes tells tests tries uses works "
    "yields"
)

# Folders of tests, of code that others wrote, and of trial code.
_NOT_READ = re.compile(
    r"(^|/)(tests?|_?testing|_?externals?|_?vendored?|extern|sandbox|examples|datasets|f2py)/"
)
_LITERAL = re.compile(r'(?<![\w"])([rR]?)"""(.*?)(?<!\\)"""', re.DOTALL)
_UNDERLINE = re.compile(r"\s*([-=~^*#+])\1{2,}\s*")
_MARKER = re.compile(r"\.\.\.? |\.\.$|[-*+•] |\(?\w[.)] |\(?\d+[.)] |:\w|\|")
_SHAPE = re.compile(r"[A-Z][a-z]*(?:(?:, |; | |-|'(?=[a-z]))[A-Za-z]+)+\.")
_NAME = re.compile(r"[a-z][A-Z]|[A-Z]{2}")
_SYMBOL = re.compile(r"(?<=.)\bA\b(?![-'])|(?<!')\b[B-HJ-Zb-hj-z]\b(?![-'])")
_SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z])")
_ABBREVIATION = re.compile(
    r"\b(al|vs|etc|resp|approx|cf|eq|fig|sec|ref|no|[A-Z]|e\.g|i\.e)\.$", re.I
)


@cache
def load_prose(packages: tuple[str, ...] = tuple(PACKAGES)) -> pl.DataFrame:
    """All sentences, with the columns of :data:`SCHEMA`; read once a process, in seconds.

    The frame depends on the installed versions alone, not on the order of the file system.

    Args:
        packages: those of :data:`PACKAGES` that are read; one takes a fraction of a second.

    Raises:
        importlib.metadata.PackageNotFoundError: one of :data:`PACKAGES` is not installed.
    """
    origin: dict[str, str] = {}
    for package in packages:
        for literal in _literals(package):
            for paragraph in paragraphs(literal):
                if len(paragraph) >= LEAST_CHARACTERS:
                    for sentence in sentences(paragraph):
                        origin.setdefault(sentence, package)
    by_id = {digest(text): text for text in origin}
    kept = distinct([by_id[key] for key in sorted(by_id)])
    versions = {package: metadata.version(package) for package in packages}
    rows = [
        (digest(text), text, origin[text], versions[origin[text]], PACKAGES[origin[text]])
        for text in kept
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def fingerprint() -> str:
    """What the frame depends on beside this code: ``package==version``, separated by spaces."""
    return " ".join(f"{package}=={metadata.version(package)}" for package in PACKAGES)


def paragraphs(docstring: str) -> list[str]:
    """Running text of a docstring in numpydoc format, one string a paragraph, lines joined.

    A paragraph ends at a blank line, at a change of indentation (so the name of a parameter or of
    a returned type is never joined to its description), at a heading and at a list. Headings,
    underlines, examples, lists, directives and literal blocks are left out.
    """
    lines = inspect.cleandoc(docstring).split("\n")
    found: list[str] = []
    block: list[str] = []
    indent = 0
    in_example = False
    skip_below: int | None = None  # lines indented deeper than this belong to what is left out
    for line, below in zip([*lines, ""], [*lines[1:], "", ""], strict=True):
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        in_example = (in_example or text.startswith(">>>")) and bool(text)
        if in_example:  # what was printed stands there to the next blank line
            text = ""
        if skip_below is not None:
            if not text or depth > skip_below:
                continue
            skip_below = None
        heading = bool(_UNDERLINE.fullmatch(line) or _UNDERLINE.fullmatch(below))
        marked = bool(_MARKER.match(text))
        if block and (not text or heading or marked or depth != indent):
            found.append(" ".join(block))
            literal = block[-1].endswith("::")
            block = []
            if literal and (not text or depth > indent):
                skip_below = indent
                continue
        if marked:
            skip_below = depth
        elif text and not heading:
            indent = depth
            block.append(text)
    return found


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph that :func:`fault` has nothing against."""
    found = []
    whole = True  # whether the piece before ended a sentence, not an abbreviation
    for piece in _SENTENCE_END.split(paragraph):
        complete = not _ABBREVIATION.search(piece[-10:])
        if whole and complete and not fault(piece):
            found.append(piece)
        whole = complete
    return found


def fault(sentence: str) -> str:
    """Why a sentence is not kept, in a word; empty if it is."""
    if not LEAST_CHARACTERS <= len(sentence) <= MOST_CHARACTERS:
        return "length"
    if not _SHAPE.fullmatch(sentence):
        return "characters"
    if len(sentence.split()) < LEAST_WORDS:
        return "words"
    if sentence.count(",") + sentence.count(";") > MOST_COMMAS:
        return "list"
    if _NAME.search(sentence) or len(re.findall("[A-Z]", sentence)) > MOST_CAPITALS:
        return "name"
    if _SYMBOL.search(sentence):
        return "symbol"
    if not VERBS & set(sentence.lower().split()):
        return "verb"
    return ""


def distinct(texts: Sequence[str], most_shared: float = NEARLY_SAME) -> list[str]:
    """``texts`` without those that are nearly the same as one before them.

    Two texts are nearly the same if they share more than ``most_shared`` of the different runs of
    three words that the shorter one of them has; case and punctuation do not count.
    """
    having: dict[str, list[int]] = {}
    sizes: list[int] = []
    kept = []
    for text in texts:
        words = re.findall(r"[^\W_]+", text.lower())
        runs = {" ".join(words[i : i + 3]) for i in range(max(len(words) - 2, 1))}
        shared: dict[int, int] = {}
        for run in runs:
            for other in having.get(run, ()):
                shared[other] = shared.get(other, 0) + 1
        if any(n > most_shared * min(len(runs), sizes[other]) for other, n in shared.items()):
            continue
        for run in runs:
            having.setdefault(run, []).append(len(kept))
        sizes.append(len(runs))
        kept.append(text)
    return kept


def _literals(package: str) -> Iterator[str]:
    """Values of the strings in triple quotes of a distribution's source files, in order of path.

    Finding them by pattern takes a fifth of the time of parsing the files, and finds the texts
    too that numpy and matplotlib attach to what has no docstring of its own.
    """
    distribution = metadata.distribution(package)
    for path in sorted(str(file) for file in distribution.files or ()):
        if not path.endswith(".py") or _NOT_READ.search(path):
            continue
        source = str(distribution.locate_file(path))
        with open(source, encoding="utf-8", errors="replace") as handle:
            text = handle.read()
        for match in _LITERAL.finditer(text):
            raw, inside = match.groups()
            if raw or "\\" not in inside:
                yield inside
                continue
            try:
                yield ast.literal_eval(match.group())
            except (SyntaxError, ValueError):  # not a string by itself, so not a docstring
                continue
