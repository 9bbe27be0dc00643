"""What the factors of a cell mean: replicates are draws of the same thing, the rest are conditions.

Probes name the factors of their cells; three names are understood here. A factor called ``seed``,
``replicate`` or ``list``, or whose name ends in ``_seed``, ``_replicate`` or ``_list``, numbers
replicates: what differs between them is chance. ``series`` names a family of items. ``origin``
names the state that a state came from, whose own factors say more. All other factors are
conditions, and numbers of different conditions are never pooled.
"""

from __future__ import annotations

#: Regular expressions on names of factors.
REPLICATE = r"(^|_)(seed|replicate|list)$"
FAMILY = r"^series$"
_UNNAMED = r"^origin$"


def replicate_sql(parameters: str = "parameters") -> str:
    """SQL expression: the replicate factors of a cell as text, such as ``network_seed=3``."""
    return _listed(parameters, f"regexp_matches(k, '{REPLICATE}')")


def family_sql(parameters: str = "parameters") -> str:
    """SQL expression: the family of a cell's items as text, such as ``series=us_cpi``."""
    return _listed(parameters, f"regexp_matches(k, '{FAMILY}')")


def condition_sql(parameters: str = "parameters") -> str:
    """SQL expression: all other factors of a cell as text, without those that are null."""
    keep = f"NOT regexp_matches(k, '{REPLICATE}|{FAMILY}|{_UNNAMED}')"
    return _listed(parameters, keep)


def _listed(parameters: str, keep: str) -> str:
    value = f"json_extract_string({parameters}, '$.\"' || k || '\"')"
    keys = f"list_filter(json_keys({parameters}), lambda k: {keep} AND {value} IS NOT NULL)"
    return f"array_to_string(list_transform({keys}, lambda k: k || '=' || {value}), ', ')"
