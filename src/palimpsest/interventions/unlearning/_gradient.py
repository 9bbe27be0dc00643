"""Methods that descend on a loss.

Such a method says what its forget term is; the loss of a step is

    forget_weight * forget term + retain_weight * retain term,

with batches of as many retained as forgotten examples (GradDiff of Maini et al. 2024, arXiv
2401.06121, and all after it). The retain term is the mean negative log-likelihood of a token, or
the mean Kullback-Leibler divergence from the model as it was. Terms are over the tokens of answers
alone, never over prompts or padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from palimpsest.engine.examples import Example, ScoredTokens, batches, scored_tokens
from palimpsest.engine.training_settings import TrainingSettings
from palimpsest.identity import seed_of
from palimpsest.interventions.unlearning._base import Method, UnlearningSettings

if TYPE_CHECKING:
    import torch

    from palimpsest.engine.training import Hooks
    from palimpsest.models.language_model import LanguageModel

VERSION = 2
ENGINE = ("interventions.unlearning._base", "engine.training", "engine.resuming")

#: Tokens a part where scores of all words are held for every scored token.
SMALL_BUDGET = 1024


class GradientSettings(UnlearningSettings):
    """A method that descends on a loss."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the forget set."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Learning rate of AdamW."""
    batch_size: int = Field(default=8, ge=1)
    """Forgotten examples a step; as many retained ones stand beside them."""
    forget_weight: float = Field(default=1.0, ge=0)
    """Weight of the forget term (gamma)."""
    retain_weight: float = Field(default=1.0, ge=0)
    """Weight of the retain term (alpha)."""
    retain_loss: Literal["nll", "kl"] = "nll"
    """Retain term: negative log-likelihood, or divergence from the model as it was."""
    adapter: Literal["full", "lora"] = "full"
    """Whether the weights themselves are changed, or low-rank additions to them."""
    rank: int = Field(default=16, ge=1)
    """Rank of the additions; their scale is alpha / rank = 2."""
    only: tuple[str, ...] = ()
    """Patterns (such as *.mlp.*) of the weights that are changed; none: all."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate goes to zero."""
    warmup: float = Field(default=0.0, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from zero."""

    def training(self) -> TrainingSettings:
        """For the training loop."""
        shared = TrainingSettings.model_fields.keys() & GradientSettings.model_fields.keys()
        given = {name: getattr(self, name) for name in shared}
        return TrainingSettings(**given, alpha=2 * self.rank)


@dataclass(frozen=True)
class Part:
    """The examples of one role in a part of a batch, after one pass of the model.

    A term of the loss is a sum over parts, so it is divided by sizes of the batch: use
    :meth:`over_tokens` and :meth:`over_examples`.

    Attributes:
        model: the model that is trained.
        examples: n examples.
        tokens: their scored tokens; owners count from 0 to n - 1.
        batch_tokens: scored tokens of this role in the whole batch.
        batch_examples: examples of this role in the whole batch.
    """

    model: LanguageModel
    examples: Sequence[Example]
    tokens: ScoredTokens
    batch_tokens: int
    batch_examples: int

    @cached_property
    def nll(self) -> torch.Tensor:
        """(scored tokens,) negative log-likelihoods in nats, with a gradient."""
        from palimpsest.engine.vocabulary import negative_log_likelihood

        return negative_log_likelihood(self.model, self.tokens.states, self.tokens.words)

    @cached_property
    def logits(self) -> torch.Tensor:
        """(scored tokens, vocabulary) scores, float32, with a gradient; see ``needs_logits``."""
        return self.model.module.get_output_embeddings()(self.tokens.states).float()

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """(n,) sums of the values (scored tokens,) of each example."""
        zeros = values.new_zeros(len(self.examples))
        return zeros.index_add(0, self.tokens.owner, values)

    def means(self, values: torch.Tensor) -> torch.Tensor:
        """(n,) means of the values (scored tokens,) of each example."""
        return self.sums(values) / self.tokens.owner.bincount(minlength=len(self.examples))

    def over_tokens(self, values: torch.Tensor) -> torch.Tensor:
        """The part's share of a mean over all scored tokens of the batch's examples."""
        return values.sum() / self.batch_tokens

    def over_examples(self, values: torch.Tensor) -> torch.Tensor:
        """The part's share of a mean over all examples of the batch."""
        return values.sum() / self.batch_examples


class GradientMethod(Method):
    """A method that descends on a loss through the one training loop.

    Attributes:
        needs_sums: whether :meth:`sums_before` is used, for the examples of :meth:`with_sums`.
        needs_states: roles of which :meth:`logits_before` is used.
        needs_logits: whether scores of all words are held, so that parts must be small.
    """

    needs_sums = False
    needs_states: tuple[str, ...] = ()
    needs_logits = False

    def forget_term(self, part: Part) -> torch.Tensor:
        """The part's share of the forget term of a batch."""
        raise NotImplementedError

    def retain_term(self, part: Part) -> torch.Tensor:
        """The part's share of the retain term of a batch."""
        if self.settings.retain_loss == "nll":
            return part.over_tokens(part.nll)
        before = self.logits_before(part).log_softmax(-1)
        return part.over_tokens((before.exp() * (before - part.logits.log_softmax(-1))).sum(-1))

    def forget_examples(self) -> list[Example]:
        """What is shown of the forget set; of the role ``forget``."""
        return self.examples(self.sets.forget, "forget")

    def hooks(self) -> Hooks:
        """Hooks of the loop."""
        from palimpsest.engine.training import Hooks

        return Hooks(loss=self.loss)

    def run(self) -> None:
        """Descend for the epochs that the settings say; a killed run goes on where it was."""
        from palimpsest.engine.resuming import Resume
        from palimpsest.engine.training import Trainer

        settings = self.settings
        self.forgotten = self.forget_examples()
        self.kept = self.examples(self.sets.retain, "retain")
        self.remember()
        steps = settings.epochs * -(-len(self.forgotten) // settings.batch_size)
        self.trainer = Trainer(
            self.model,
            settings.training(),
            self.hooks(),
            seed_of("adapter", self.seed),
            steps,
            self._token_budget(),
        )
        resume = Resume(self.trainer, self.scratch / "resume.pt") if self.scratch else None
        saved = resume.load() if resume else {}
        done = saved.get("epochs", 0)
        if done:
            self.recall(saved)
        progress = self.progress(settings.epochs) if self.progress else None
        for epoch in range(settings.epochs):
            if epoch >= done:
                self.trainer.run(self.epoch(epoch))
                if resume:
                    resume.save({"epochs": epoch + 1, **self.facts()})
            if progress:
                progress.advance()
        self.trainer.finish()
        if progress:
            progress.close()
        self.notes |= {"losses": self.trainer.losses, "updates": self.trainer.step}

    def epoch(self, number: int) -> Iterator[list[Example]]:
        """Batches of one pass over the forget set, each with as many retained examples."""
        forgotten = batches(
            self.forgotten, self.settings.batch_size, 1, seed_of("forget", self.seed, number)
        )
        order = np.random.default_rng(seed_of("retain", self.seed, number))
        kept: list[int] = []
        for batch in forgotten:
            beside: list[Example] = []
            if self.settings.retain_weight and self.kept:
                while len(kept) < len(batch):
                    kept += order.permutation(len(self.kept)).tolist()
                beside = [self.kept[place] for place in kept[: len(batch)]]
                del kept[: len(batch)]
            yield [*batch, *beside]

    def weighed(self, batch: list[Example]) -> list[Example]:
        """A batch without forgotten examples where the loss gives them no weight; whole where
        nothing would be left."""
        if self.settings.forget_weight:
            return batch
        return [each for each in batch if each.role == "retain"] or batch

    def changes(self, before: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the loop has changed."""
        return self.trainer.changes(before)

    def loss(
        self, model: LanguageModel, part: Sequence[Example], batch: Sequence[Example]
    ) -> torch.Tensor:
        """The part's share of the loss of a batch."""
        tokens = scored_tokens(model, part)
        total = tokens.states.new_zeros(())
        for role, weight, term in (
            ("forget", self.settings.forget_weight, self.forget_term),
            ("retain", self.settings.retain_weight, self.retain_term),
        ):
            places = [place for place, each in enumerate(part) if each.role == role]
            if weight and places:
                total = total + weight * term(self.part(tokens, part, places, batch, role))
        return total if total.requires_grad else total + 0 * tokens.states.sum()

    def part(
        self,
        tokens: ScoredTokens,
        examples: Sequence[Example],
        places: Sequence[int],
        batch: Sequence[Example],
        role: str,
    ) -> Part:
        """The examples at these places, with the sizes of the batch."""
        alike = [each for each in batch if each.role == role]
        return Part(
            self.model,
            [examples[place] for place in places],
            tokens.only(places),
            sum(sum(each.scored) for each in alike),
            len(alike),
        )

    def remember(self) -> None:
        """Keep what the terms need of the model as it was; called before anything changes.

        Log-likelihoods are numbers, and scores of all words follow from the last hidden states,
        so that no second model is held.
        """
        import torch

        self._sums: dict[Example, float] = {}
        self._states: dict[Example, torch.Tensor] = {}
        self._head: tuple[torch.Tensor, torch.Tensor | None] | None = None
        roles = set(self.needs_states)
        if self.settings.retain_loss == "kl" and self.settings.retain_weight:
            roles.add("retain")
        self.model.module.eval()
        with torch.no_grad():
            if self.needs_sums:
                for each in self._seen_whole(self.with_sums()):
                    sums = each.sums(each.nll).tolist()
                    self._sums |= dict(zip(each.examples, sums, strict=True))
            for role, every in (("forget", self.forgotten), ("retain", self.kept)):
                if role in roles:
                    for each in self._seen_whole(every):
                        self._keep_states(each)
            if roles:
                head = self.model.module.get_output_embeddings()
                bias = getattr(head, "bias", None)
                # Both are trained where whole models are.
                bias = None if bias is None else bias.detach().clone()
                self._head = head.weight.detach().clone(), bias

    def with_sums(self) -> Sequence[Example]:
        """Examples whose log-likelihoods are kept."""
        return self.forgotten

    def mean_loss(self, examples: Sequence[Example]) -> float:
        """Mean loss of a token in nats, of the model as it is."""
        import torch

        with torch.no_grad():
            parts = [(float(p.nll.sum()), p.batch_tokens) for p in self._seen_whole(examples)]
        return sum(total for total, _ in parts) / sum(tokens for _, tokens in parts)

    def facts(self) -> dict[str, Any]:
        """What a run that goes on must know beside the trainer."""
        return {}

    def recall(self, facts: dict[str, Any]) -> None:
        """From :meth:`facts`."""

    def sums_before(self, part: Part) -> torch.Tensor:
        """(n,) negative log-likelihood of each answer, summed, of the model as it was."""
        return part.nll.new_tensor([self._sums[each] for each in part.examples])

    def logits_before(self, part: Part) -> torch.Tensor:
        """(scored tokens, vocabulary) scores of the model as it was, float32."""
        import torch

        states = torch.cat([self._states[each] for each in part.examples])
        weight, bias = self._head
        return torch.nn.functional.linear(states.to(weight.device), weight, bias).float()

    def _keep_states(self, part: Part) -> None:
        counts = part.tokens.owner.bincount(minlength=len(part.examples)).tolist()
        split = part.tokens.states.detach().split(counts)
        self._states |= dict(zip(part.examples, (each.clone() for each in split), strict=True))

    def _seen_whole(self, every: Sequence[Example]) -> Iterator[Part]:
        from palimpsest.engine.examples import parts

        for examples in parts(every, SMALL_BUDGET):
            tokens = scored_tokens(self.model, examples)
            yield Part(self.model, examples, tokens, len(tokens.words), len(examples))

    def _token_budget(self) -> int | None:
        wants = self.needs_logits or self.settings.retain_loss == "kl"
        return SMALL_BUDGET if wants else None
