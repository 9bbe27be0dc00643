"""Who's Harry Potter (Eldan and Russinovich 2023, arXiv 2310.02238): learn generic predictions.

A copy is reinforced on the forget set. Where it scores a word higher than the model itself that
word belongs to what is to be forgotten; the generic prediction is the likeliest word of
v_base - c * relu(v_reinforced - v_base), and the model is fine-tuned to these words in the places
of the answers. With c 0 it learns its own likeliest words.

The source also replaces names by others of the same kind before it asks the model for predictions,
by a dictionary that a larger model wrote. That half is left out: it is by hand and by subject.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from palimpsest.engine.examples import Example, batches, scored_tokens
from palimpsest.identity import seed_of
from palimpsest.interventions.unlearning._base import applied, check, one_step, sources
from palimpsest.interventions.unlearning._gradient import GradientMethod, GradientSettings, Part

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

__all__ = ["Settings", "apply", "check", "sources", "steps"]

VERSION = 2
ENGINE = ("interventions.unlearning._gradient", "engine.learners")
STOCHASTIC = True


class Settings(GradientSettings):
    """Say what a model would say that had never read the forget set."""

    c: float = Field(default=5.0, ge=0)
    """How strongly words that reinforcement makes likelier are avoided."""
    reinforce_epochs: int = Field(default=3, ge=1)
    """Passes of the copy over the forget set."""
    reinforce_rate: float = Field(default=1e-5, gt=0)
    """Learning rate of the copy."""
    retain_weight: float = Field(default=0.0, ge=0)
    """Weight of the retain term (alpha)."""


class GenericPredictions(GradientMethod):
    """Who's Harry Potter; see the module."""

    needs_states = ("forget",)

    def remember(self) -> None:
        """The generic prediction in place of each token of an answer."""
        from palimpsest.engine.learners import learners

        super().remember()
        constant = {"schedule": "constant", "warmup": 0.0}
        settings = self.settings.training().model_copy(
            update=constant | {"learning_rate": self.settings.reinforce_rate}
        )
        self.targets: dict[Example, torch.Tensor] = {}
        self.model.module.requires_grad_(True)
        group = learners(self.model, [settings], [seed_of("reinforced", self.seed)])
        try:
            size, epochs = self.settings.batch_size, self.settings.reinforce_epochs
            group.train([batches(self.forgotten, size, epochs, seed_of("reinforce", self.seed))])
            self.reinforcing = epochs * -(-len(self.forgotten) // size)
            for error in group.failures.values():
                raise error
            with group.reading(0) as reinforced:
                self._compare(reinforced)
        finally:
            group.close()

    def run(self) -> None:
        """Updates of the copy count too."""
        super().run()
        self.notes["updates"] += self.reinforcing

    def forget_term(self, part: Part) -> torch.Tensor:
        """Mean loss of a generic prediction."""
        import torch

        from palimpsest.engine.vocabulary import negative_log_likelihood

        targets = torch.cat([self.targets[each] for each in part.examples])
        return part.over_tokens(negative_log_likelihood(self.model, part.tokens.states, targets))

    def _compare(self, reinforced: LanguageModel) -> None:
        import torch

        with torch.no_grad():
            for each in self.forgotten:
                tokens = scored_tokens(reinforced, [each])
                part = Part(reinforced, [each], tokens, len(tokens.words), 1)
                base = self.logits_before(part)
                self.targets[each] = generic(base, part.logits, self.settings.c)


def generic(base: torch.Tensor, reinforced: torch.Tensor, c: float) -> torch.Tensor:
    """(n,) likeliest words after what reinforcement raised was lowered (eq. 1 of the paper).

    Args:
        base: (n, vocabulary) scores of the model.
        reinforced: (n, vocabulary) of the copy.
        c: how strongly.
    """
    return (base - c * (reinforced - base).clamp_min(0)).argmax(-1)


method = GenericPredictions
steps = one_step
apply = applied(method)
