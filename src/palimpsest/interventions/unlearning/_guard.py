"""Methods that put a guard before the model and leave its weights as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from palimpsest.interventions.unlearning._base import Method
from palimpsest.models.guards import packed

if TYPE_CHECKING:
    import torch

    from palimpsest.models.guards import Guard

VERSION = 1
ENGINE = ("interventions.unlearning._base", "engine.guarding", "models.guards")


class GuardMethod(Method):
    """A method that makes a guard."""

    guard: Guard | None = None

    def made(self) -> Guard:
        """The guard; there is something to forget."""
        raise NotImplementedError

    def run(self) -> None:
        """Put the guard before the model; nothing where there is nothing to forget."""
        if self.sets.forget:
            self.guard = self.made()
            self.model.guards += (self.guard,)
            self.notes["suppresses"] = "what is written; weights and probabilities are as before"

    def changes(self, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The guard."""
        import torch

        parts = packed(self.guard) if self.guard else {}
        return {name: torch.from_numpy(part) for name, part in parts.items()}
