"""What the words of a page name as its source is among its references, with an entry for BibTeX."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from palimpsest import probes
from palimpsest.reports.blocks import Reference
from palimpsest.reports.references import _NAMED, with_statistics

_FOLDER = Path(probes.__file__).parent
PROBES = sorted(p.parent.parent.name for p in _FOLDER.glob("*/pages/words.py"))
_CITED = re.compile(r"\(([A-Z][\w' -]+?)(?: et al\.| and [A-Z]\w+)?,? ((?:19|20)\d\d)\)")


def _cited(probe):
    """(name, year) of every source that a string of the probe's pages or figures names."""
    files = [*(_FOLDER / probe / "pages").glob("*.py"), _FOLDER / probe / "figures.py"]
    strings = (
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {found for text in strings for found in _CITED.findall(text)}


def _assert_entry(reference):
    key, year = re.match(r"@\w+\{([a-z]+\d{4}), .*year=\{(\d{4})\}", reference.bibtex).groups()
    assert key == reference.key
    assert f"({year})" in reference.text
    assert reference.bibtex.count("{") == reference.bibtex.count("}")


@pytest.mark.parametrize("probe", PROBES)
def test_every_source_that_is_named_is_a_reference(probe):
    references = import_module(f"palimpsest.probes.{probe}.pages.words").REFERENCES
    known = [reference.text for reference in references]
    for name, year in _cited(probe):
        there = [text for text in known if text.startswith(name) and f"({year})" in text]
        assert there, f"{name} {year} is named but no reference"
    for reference in references:
        _assert_entry(reference)


def test_some_source_is_named_at_all():
    assert sum(len(_cited(probe)) for probe in PROBES) >= 8


def test_named_statistics_bring_their_source_once():
    words = ["Wilson intervals and Holm's method, two one-sided\ntests, CR2, DeLong's test."]
    holm = Reference("holm1979", "Holm, S. (1979).", "", "@article{holm1979, year={1979}}")
    keys = [reference.key for reference in with_statistics([holm], words)]
    assert keys == ["holm1979", "wilson1927", "bell2002", "delong1988", "schuirmann1987"]
    assert with_statistics([], ["Nothing of the kind."]) == []
    for reference in _NAMED.values():
        _assert_entry(reference)
