"""Sentences of documentation: whole, clean, different, and the same on every machine."""

import ast
import re
from importlib import metadata

import polars as pl
import pytest

from palimpsest.data import prose
from palimpsest.data.prose import SCHEMA, distinct, fault, load_prose, paragraphs, sentences
from palimpsest.identity import digest

NUMPYDOC = """Merge two frames on their keys.

    The keys must be there in both of the frames, or nothing
    is merged at all.

    Parameters
    ----------
    left : DataFrame
        The frame on the left side of the merge. It is not
        changed. Options are as follows:

        * an item of a list that is no running text
          and its second line
        * another one

    Returns
    -------
    DataFrame
        The merged frame.

    Examples
    --------
    >>> merge(left, right)
    the output of an example

    The code is as follows::

        some = code + that(looks) + like

    .. note:: A directive
        with its text.

    Back to text.
    """


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return load_prose()


def test_the_frame_is_as_documented(frame):
    assert frame.schema == pl.Schema(SCHEMA)
    assert frame.null_count().sum_horizontal().item() == 0
    assert frame.height > 3_500
    assert frame["id"].to_list() == [digest(text) for text in frame["text"]]
    assert frame.equals(frame.sort("id"))
    assert set(frame["package"]) == set(prose.PACKAGES)
    for package, version in frame.select("package", "version").unique().iter_rows():
        assert metadata.version(package) == version
        assert f"{package}=={version}" in prose.fingerprint().split()


def test_sentences_keep_the_promises(frame):
    for text in frame["text"]:
        assert 80 <= len(text) <= 200
        assert len(text.split()) >= 12
        assert re.fullmatch(r"[A-Z][A-Za-z ,;'-]+\.", text), text
        assert "  " not in text
        assert " - " not in text
        assert "--" not in text
        assert not re.search(r"\b(Parameters|Notes|Examples|References|See Also) [A-Z]", text), text
        assert len(re.findall("[A-Z]", text)) <= 4, text


def test_no_sentence_is_nearly_another(frame):
    texts = frame["text"].to_list()
    assert distinct(texts) == texts
    by_words = {" ".join(re.findall("[a-z]+", text.lower())) for text in texts}
    assert len(by_words) == len(texts)


def test_read_once_a_process(frame):
    assert load_prose() is frame


def test_one_package_gives_sentences_of_its_own(frame):
    own = load_prose(("statsmodels",))
    assert set(own["package"]) == {"statsmodels"}
    # Which of two that are nearly the same is kept depends on what else there is.
    assert len(set(own["text"]) & set(frame["text"])) > 0.9 * len(own)
    assert own.height > 800


def test_order_of_files_does_not_matter(monkeypatch):
    listed = metadata.distribution("pandas").files
    expected = load_prose.__wrapped__(("pandas",))
    monkeypatch.setattr(metadata.Distribution, "files", property(lambda _: listed[::-1]))
    monkeypatch.setattr(metadata.PathDistribution, "files", property(lambda _: listed[::-1]))
    assert load_prose.__wrapped__(("pandas",)).equals(expected)


def test_every_docstring_of_a_module_is_among_the_literals():
    found = set(prose._literals("statsmodels"))
    place = metadata.distribution("statsmodels").locate_file("statsmodels/stats/power.py")
    tree = ast.parse(place.read_text(encoding="utf-8"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    docstrings = {ast.get_docstring(node, clean=False) for node in documented} - {None}
    assert len(docstrings) > 20
    assert docstrings <= found


def test_paragraphs_of_numpydoc_by_hand():
    assert paragraphs(NUMPYDOC) == [
        "Merge two frames on their keys.",
        "The keys must be there in both of the frames, or nothing is merged at all.",
        "left : DataFrame",
        "The frame on the left side of the merge. It is not changed. Options are as follows:",
        "DataFrame",
        "The merged frame.",
        "The code is as follows::",
        "Back to text.",
    ]


GOOD = "The estimate of the mean is shrunk towards zero, which helps if the sample is small."


def test_sentences_of_a_paragraph_by_hand():
    assert sentences(f"Short one. {GOOD} See also: there.") == [GOOD]
    # What follows an abbreviation may be the rest of a sentence.
    assert sentences(f"This was shown by Smith et al. {GOOD}") == []
    assert sentences(GOOD.removesuffix(".")) == []


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        (GOOD, ""),
        ("The mean is small.", "length"),
        (GOOD.replace("mean", "mean (or median)"), "characters"),
        (GOOD.replace(" mean", "  mean"), "characters"),
        (GOOD.replace("mean", "2nd moment"), "characters"),
        (GOOD[0].lower() + GOOD[1:], "characters"),
        (
            "Autocorrelation-consistent heteroscedasticity-robust errors are misspecified here.",
            "words",
        ),
        (GOOD.replace("small", "small, or, if not, then, well, large"), "list"),
        (GOOD.replace("mean", "dataFrame mean"), "name"),
        (GOOD.replace("mean", "mean of x"), "symbol"),
        (GOOD.replace(" is ", " always ").replace("helps", "for example"), "verb"),
    ],
)
def test_why_a_sentence_is_not_kept(sentence, reason):
    assert fault(sentence) == reason


def test_nearly_the_same_by_hand():
    first = "one two three four five six seven eight"
    near = "One, two three four five six nine ten."
    far = "one two three eleven twelve thirteen fourteen fifteen"
    assert distinct([first, near, far]) == [first, far]
    assert distinct([near, first, far]) == [near, far]
    assert distinct([first, near], most_shared=0.9) == [first, near]
    assert distinct(["yes", "Yes.", "no"]) == ["yes", "no"]
