"""Selective synaptic dampening: weights that matter to the forget set alone are made smaller.

The importance of a weight to a set is the mean over batches of the squared gradient of the batch's
mean loss (Foster et al. 2024, arXiv 2308.07707, as released). With batches of several examples that
is the square of a mean, not the Fisher information, and its scale falls with the size of the batch;
``sample`` has batches of one, which is the empirical Fisher information. The label-free importance
is the mean size of the gradient of the mean squared norm of the scores of all words (Foster et al.
2024, arXiv 2402.19308).

The whole training set D is what a method sees of it: F and R, each cut into batches of its own. So
I_D is no less than F's share of the batches times I_F, and no weight is chosen where alpha is
``largest_ratio`` of the notes, one over that share, or more: with one batch of F in five no alpha
from 5 on chooses anything. The source takes 10 and forgets a twentieth of its data at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from palimpsest.engine.examples import Example, scored_tokens
from palimpsest.interventions.unlearning._base import Method, UnlearningSettings, wide_zeros

if TYPE_CHECKING:
    import torch

    from palimpsest.models.language_model import LanguageModel

VERSION = 2
ENGINE = ("interventions.unlearning._base", "engine.training")

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
        weights = self.chosen_weights(self.settings)
        kind = self.importance()
        size = 1 if kind == "sample" else self.settings.batch_size
        forgotten = self.examples(self.sets.forget, "forget")
        kept = self.examples(self.sets.retain, "retain")
        forget, retain = (importances(self.model, part, size, kind) for part in (forgotten, kept))
        of_forget, of_retain = (-(-len(part) // size) for part in (forgotten, kept))
        share = of_forget / (of_forget + of_retain)
        all_ = {name: share * forget[name] + (1 - share) * retain[name] for name in weights}
        self.forget_share = len(forgotten) / (len(forgotten) + len(kept))
        alpha = self.threshold(forget, all_)
        chosen = dampen(weights, forget, all_, alpha, self.settings.strength)
        self.notes |= {
            "alpha": alpha,
            "largest_ratio": 1 / share,
            "share_dampened": sum(chosen.values()) / sum(w.numel() for w in weights.values()),
            "shares_dampened": {n: count / weights[n].numel() for n, count in chosen.items()},
        }


def importances(
    model: LanguageModel, examples: Sequence[Example], batch_size: int, kind: Importance
) -> dict[str, torch.Tensor]:
    """Importance of every trainable weight to a set, by name; of an empty set zero.

    Args:
        model: the model.
        examples: n examples.
        batch_size: examples a batch; of ``sample`` one.
        kind: see the module.
    """
    from palimpsest.engine.training import mean_loss

    size = 1 if kind == "sample" else batch_size

    def losses() -> Iterator[torch.Tensor]:
        for start in range(0, len(examples), size):
            batch = examples[start : start + size]
            if kind == "label_free":
                yield _scores_squared(model, batch)
            else:
                yield mean_loss(model, batch, batch)

    weights = {n: p for n, p in model.module.named_parameters() if p.requires_grad}
    model.module.eval()
    found = sensitivities(losses(), list(weights.values()), kind != "label_free")
    return dict(zip(weights, found, strict=True))


def sensitivities(
    losses: Iterable[torch.Tensor], weights: Sequence[torch.Tensor], squared: bool
) -> list[torch.Tensor]:
    """Mean over losses of the square, or the size, of the gradient by each weight.

    Args:
        losses: n scalars, each with a graph of its own.
        weights: what they depend on, or do not.
        squared: whether gradients are squared.
    """
    import torch

    found = wide_zeros(weights)
    count = 0
    for loss in losses:
        count += 1
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        for total, gradient in zip(found, gradients, strict=True):
            if gradient is not None:
                gradient = gradient.to(total.dtype)
                total += gradient.square() if squared else gradient.abs()
    for total in found:
        total /= max(1, count)
    return found


def _scores_squared(model: LanguageModel, batch: Sequence[Example]) -> torch.Tensor:
    """Mean over the places before words of answers of the squared norm of all scores."""
    states = scored_tokens(model, batch).states
    return model.module.get_output_embeddings()(states).float().square().sum(-1).mean()


def dampen(
    weights: dict[str, torch.Tensor],
    forget: dict[str, torch.Tensor],
    all_: dict[str, torch.Tensor],
    alpha: float,
    strength: float,
) -> dict[str, int]:
    """Multiply chosen weights in place (eq. 6 and 7 of Foster et al. 2024); how many were chosen.

    Args:
        weights: name -> weight.
        forget: importances to the forget set.
        all_: importances to the whole training set.
        alpha: a weight is chosen where its importance to the forget set is more than this multiple.
        strength: lambda.
    """
    import torch

    chosen = {}
    with torch.no_grad():
        for name, weight in weights.items():
            selected = forget[name] > alpha * all_[name]
            factor = (strength * all_[name] / forget[name]).clamp_max(1.0)
            weight.copy_(torch.where(selected, (weight * factor).to(weight.dtype), weight))
            chosen[name] = int(selected.sum())
    return chosen
