"""Selective synaptic dampening: weights that matter to the forget set alone are made smaller.

The importance of a weight to a set is the mean over batches of the squared gradient of the batch's
mean loss (Foster et al. 2024, arXiv 2308.07707, as released). With batches of several examples that
is the square of a mean, not the Fisher information, and its scale falls with the size of the batch;
``sample`` has batches of one, which is the empirical Fisher information. The label-free importance
is the mean size of the gradient of the mean squared norm of the scores of all words (Foster et al.
2024, arXiv 2402.19308).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from palimpsest.engine.examples import Example, scored_tokens
from palimpsest.interventions.unlearning._base import Method, UnlearningSettings

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("interventions.unlearning._base",)

Importance = Literal["batch", "sample", "label_free"]


class DampeningSettings(UnlearningSettings):
    """Which weights are made smaller, and by how much."""

    strength: float = Field(default=1.0, ge=0)
    """Lambda: a chosen weight is multiplied by lambda * I_D / I_F, and by 1 at most."""
    batch_size: int = Field(default=8, ge=1)
    """Examples whose loss is averaged before gradients are squared."""
    only: tuple[str, ...] = ()
    """Patterns (such as *.mlp.*) of the weights that may be made smaller; none: all."""


class Dampening(Method):
    """A method that multiplies weights; see the module."""

    def importance(self) -> Importance:
        """Which importance is used."""
        raise NotImplementedError

    def threshold(self, forget: dict[str, torch.Tensor], all_: dict[str, torch.Tensor]) -> float:
        """Alpha: weights with I_F > alpha * I_D are chosen."""
        raise NotImplementedError

    def run(self) -> None:
        """Read both importances, then multiply."""
        import fnmatch

        kept, size = self.settings.only, self.settings.batch_size
        module = self.model.module
        for name, weight in module.named_parameters():
            weight.requires_grad_(not kept or any(fnmatch.fnmatch(name, one) for one in kept))
        forgotten = self.examples(self.sets.forget, "forget")
        every = [*forgotten, *self.examples(self.sets.retain, "retain")]
        kind = self.importance()
        forget, all_ = (importances(self.model, part, size, kind) for part in (forgotten, every))
        alpha = self.threshold(forget, all_)
        weights = {name: dict(module.named_parameters())[name] for name in forget}
        share = dampen(weights, forget, all_, alpha, self.settings.strength)
        self.notes |= {"alpha": alpha, "share_dampened": share}


def importances(
    model: LanguageModel, examples: Sequence[Example], batch_size: int, kind: Importance
) -> dict[str, torch.Tensor]:
    """Importance of every trainable weight to a set, by name.

    Args:
        model: the model.
        examples: n examples.
        batch_size: examples a batch; of ``sample`` one.
        kind: see the module.
    """
    import torch

    from palimpsest.engine.training import mean_loss

    weights = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    size = 1 if kind == "sample" else batch_size
    starts = range(0, len(examples), size)
    model.module.eval()
    for start in starts:
        batch = examples[start : start + size]
        loss = (
            _scores_squared(model, batch)
            if kind == "label_free"
            else mean_loss(model, batch, batch)
        )
        gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for total, gradient in zip(found.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient.abs() if kind == "label_free" else gradient.square()
    for total in found.values():
        total /= len(starts)
    return found


def _scores_squared(model: LanguageModel, batch: Sequence[Example]) -> torch.Tensor:
    """Mean over the places of answers of the squared norm of the scores of all words."""
    states = scored_tokens(model, batch).states
    return model.module.get_output_embeddings()(states).float().square().sum(-1).mean()


def dampen(
    weights: dict[str, torch.Tensor],
    forget: dict[str, torch.Tensor],
    all_: dict[str, torch.Tensor],
    alpha: float,
    strength: float,
) -> float:
    """Multiply chosen weights in place (eq. 6 and 7 of Foster et al. 2024); the share chosen.

    Args:
        weights: name -> weight.
        forget: importances to the forget set.
        all_: importances to the whole training set.
        alpha: a weight is chosen where its importance to the forget set is more than this multiple.
        strength: lambda.
    """
    import torch

    chosen = total = 0
    with torch.no_grad():
        for name, weight in weights.items():
            selected = forget[name] > alpha * all_[name]
            factor = (strength * all_[name] / forget[name]).clamp_max(1.0)
            weight.copy_(torch.where(selected, weight * factor, weight))
            chosen, total = chosen + int(selected.sum()), total + weight.numel()
    return chosen / total
