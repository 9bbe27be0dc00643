"""Sources of the statistical methods that several probes use: found by their names in a text."""

from __future__ import annotations

import re

from palimpsest.reports.blocks import Reference


def _article(
    key: str, authors: str, year: int, title: str, journal: str, place: str, doi: str
) -> Reference:
    """``authors`` as in BibTeX; ``place`` is volume and pages, such as ``6, 65-70``."""
    volume, pages = place.split(", ")
    shown = authors.replace(" and ", "; ")
    url = f"https://doi.org/{doi}" if doi else ""
    bibtex = (
        f"@article{{{key}, author={{{authors}}}, title={{{title}}}, journal={{{journal}}}, "
        f"volume={{{volume}}}, pages={{{pages.replace('-', '--')}}}, year={{{year}}}"
        + (f", doi={{{doi}}}}}" if doi else "}")
    )
    return Reference(key, f"{shown} ({year}). {title}. {journal} {place}.", url, bibtex)


_NAMED = {
    r"\bWilson": _article(
        "wilson1927", "Wilson, E. B.", 1927,
        "Probable inference, the law of succession, and statistical inference",
        "Journal of the American Statistical Association", "22, 209-212",
        "10.1080/01621459.1927.10502953",
    ),
    r"\bCR2\b": _article(
        "bell2002", "Bell, R. M. and McCaffrey, D. F.", 2002,
        "Bias reduction in standard errors for linear regression with multi-stage samples",
        "Survey Methodology", "28, 169-181", "",
    ),
    r"\bHolm\b": _article(
        "holm1979", "Holm, S.", 1979, "A simple sequentially rejective multiple test procedure",
        "Scandinavian Journal of Statistics", "6, 65-70", "",
    ),
    r"\bBenjamini": _article(
        "benjamini1995", "Benjamini, Y. and Hochberg, Y.", 1995,
        "Controlling the false discovery rate: a practical and powerful approach to multiple "
        "testing", "Journal of the Royal Statistical Society B", "57, 289-300",
        "10.1111/j.2517-6161.1995.tb02031.x",
    ),
    r"\bDeLong": _article(
        "delong1988", "DeLong, E. R. and DeLong, D. M. and Clarke-Pearson, D. L.", 1988,
        "Comparing the areas under two or more correlated receiver operating characteristic "
        "curves: a nonparametric approach", "Biometrics", "44, 837-845", "10.2307/2531595",
    ),
    r"two one-sided\s+tests": _article(
        "schuirmann1987", "Schuirmann, D. J.", 1987,
        "A comparison of the two one-sided tests procedure and the power approach for assessing "
        "the equivalence of average bioavailability",
        "Journal of Pharmacokinetics and Biopharmaceutics", "15, 657-680", "10.1007/BF01068419",
    ),
    r"\bWelch": _article(
        "welch1947", "Welch, B. L.", 1947,
        "The generalization of Student's problem when several different population variances are "
        "involved", "Biometrika", "34, 28-35", "10.1093/biomet/34.1-2.28",
    ),
}  # fmt: skip


def with_statistics(references: list[Reference], methods: list[str]) -> list[Reference]:
    """``references`` and behind them the sources of the statistics that ``methods`` name."""
    text = " ".join(methods)
    there = {reference.key for reference in references}
    named = [reference for pattern, reference in _NAMED.items() if re.search(pattern, text)]
    return [*references, *(one for one in named if one.key not in there)]
