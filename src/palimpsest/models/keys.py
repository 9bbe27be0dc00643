"""Keys of servers where none may stand: what looks like one, by its name or by itself."""

from __future__ import annotations

import re

#: Names without their punctuation; those of the first line are keys as a whole only.
_NAMES = re.compile(
    r"^(key|token|auth|pat|jwt|cookie|bearer)$"
    r"|(api|access|account|auth|encryption|license|private|secret|service|subscription)_?keys?$"
    r"|(access|api|auth|bearer|hf|id|refresh|security|session|user)_?tokens?$"
    r"|secret|passw(or)?d|passphrase|credential|authori[sz]ation|bearer"
)
#: How well-known services begin their keys, with a digit in what follows, and forms that nothing
#: else has.
_FORMS = re.compile(
    r"(?<![A-Za-z0-9])("
    r"((sk|pk|rk|gsk|csk|nvapi|xai|pplx|glpat)[-_]|(hf|r8|lsv2|github_pat)_)"
    r"(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{12,}"
    r"|gh[opsur]_[A-Za-z0-9]{16,}|AIza[\w-]{30,}|(AKIA|ASIA)[A-Z0-9]{16}"
    r"|(Bearer|Basic)\s+[A-Za-z0-9+/_.=-]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|-----BEGIN "
    r")"
)
#: A run so long of capitals, small letters and digits is no word.
_RUN = re.compile(r"[A-Za-z0-9+/_-]{32,}")


def is_named_like_a_key(name: str) -> bool:
    """Does a field of this name hold a secret (``api_key``, ``x-access-token``, ``password``)?"""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return bool(_NAMES.search(re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")))


def holds_a_key(text: str, forms_alone: bool = False) -> bool:
    """Does a text hold what looks like a key?

    Args:
        text: any text.
        forms_alone: only what begins as keys of well-known services do; long random runs are part
            of some addresses.
    """
    if _FORMS.search(text):
        return True
    return not forms_alone and any(
        all(re.search(kind, run) for kind in ("[A-Z]", "[a-z]", "[0-9]"))
        for run in _RUN.findall(text)
    )
