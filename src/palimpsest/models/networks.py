"""The model that is none: a probe makes its small networks itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Networks:
    """Where small networks are to live; what they are is the probe's business.

    Attributes:
        device: such as ``cpu`` or ``cuda:0``.
        tokens: examples put through networks, counted by the probe for provenance.
    """

    device: str = "cpu"
    tokens: int = 0
