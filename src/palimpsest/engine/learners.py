"""Independent learners that begin with the same weights and are read at any time.

Learners with low-rank adapters share one pass of the frozen model (``many_adapters``); a learner
that changes the weights themselves learns alone. Both are used in the same way: train, read,
remember a moment, return to it. After :meth:`close` the model is what it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.training import Example, NonFiniteLossError, Trainer, TrainingSettings

if TYPE_CHECKING:
    from palimpsest.models.language_model import LanguageModel

VERSION = 1
ENGINE = ("engine.training", "engine.many_adapters")

Batch = Sequence[Example]
AnyMember = TypeVar("AnyMember")


class Learners(Protocol):
    """R learners of one model.

    Attributes:
        n: R.
        failures: learner -> why it learns no more; its weights are those before that step.
    """

    n: int
    failures: dict[int, NonFiniteLossError]

    def train(self, streams: Sequence[Iterable[Batch]]) -> None:
        """One optimiser step for every batch of every learner's own stream."""

    def reading(self, learner: int) -> AbstractContextManager[LanguageModel]:
        """Inside, the model is that of one learner."""

    def remember(self) -> Any:
        """The weights of all learners now."""

    def return_to(self, moment: Any) -> None:
        """To the weights of a moment, as a new training run: optimisers start anew."""

    def close(self) -> None:
        """The model is what it was before the learners."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue to the same bits on the same device."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""


def learners(
    model: LanguageModel, settings: Sequence[TrainingSettings], seeds: Sequence[int]
) -> Learners:
    """Learners with these settings and seeds of their initial values.

    Args:
        model: the model; changed until :meth:`Learners.close`.
        settings: one a learner; with low-rank adapters the ranks must agree.
        seeds: one a learner.

    Raises:
        ValueError: several learners that change the weights themselves.
    """
    if all(each.adapter == "lora" for each in settings):
        return _Together(model, settings, seeds)
    if len(settings) > 1:
        raise ValueError("learners with adapter: full cannot learn together; give one at a time")
    return _Alone(model, settings[0], seeds[0])


def still_learning(
    members: Sequence[AnyMember], group: Learners
) -> Iterator[tuple[AnyMember, LanguageModel]]:
    """What belongs to each learner that still learns, with the model as that learner is now."""
    for number, member in enumerate(members):
        if number not in group.failures:
            with group.reading(number) as model:
                yield member, model


class _Together:
    """Low-rank adapters in one pass."""

    def __init__(
        self, model: LanguageModel, settings: Sequence[TrainingSettings], seeds: Sequence[int]
    ) -> None:
        self.n = len(settings)
        self._many = ManyAdapters(model, settings, seeds)
        self.failures = self._many.failures

    def train(self, streams: Sequence[Iterable[Batch]]) -> None:
        self._many.run(streams)

    def reading(self, learner: int) -> AbstractContextManager[LanguageModel]:
        return self._many.only(learner)

    def remember(self) -> Any:
        return {
            name: (layer.A.clone(), layer.B.clone()) for name, layer in self._many.layers.items()
        }

    def return_to(self, moment: Any) -> None:
        for name, layer in self._many.layers.items():
            for held, then in zip((layer.A, layer.B), moment[name], strict=True):
                held.copy_(then)
        self._many.start_optimizers_anew()

    def close(self) -> None:
        self._many.close()

    def state_dict(self) -> dict[str, Any]:
        return self._many.state_dict()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._many.load_state_dict(saved)
        self.failures = self._many.failures


class _Alone:
    """One learner that changes the weights themselves."""

    def __init__(self, model: LanguageModel, settings: TrainingSettings, seed: int) -> None:
        self.n = 1
        self.failures: dict[int, NonFiniteLossError] = {}
        self._model, self._settings, self._seed = model, settings, seed
        self._trainer = Trainer(model, settings, seed=seed)
        self._before = self.remember()

    def train(self, streams: Sequence[Iterable[Batch]]) -> None:
        (stream,) = streams
        if self.failures:
            return
        try:
            self._trainer.run(stream)
        except NonFiniteLossError as error:
            self.failures[0] = error

    @contextmanager
    def reading(self, learner: int) -> Iterator[LanguageModel]:
        self._model.module.eval()
        try:
            yield self._model
        finally:
            self._model.module.train()

    def remember(self) -> Any:
        return {name: p.detach().clone() for name, p in self._trainer.parameters.items()}

    def return_to(self, moment: Any) -> None:
        self._put_back(moment)
        self._trainer = Trainer(self._model, self._settings, seed=self._seed)

    def close(self) -> None:
        self._trainer.finish()
        self._put_back(self._before)

    def state_dict(self) -> dict[str, Any]:
        failures = [(error.step, error.last, error.what) for error in self.failures.values()]
        return {"trainer": self._trainer.state_dict(), "failures": failures}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._trainer.load_state_dict(saved["trainer"])
        self.failures = dict(enumerate(NonFiniteLossError(*each) for each in saved["failures"]))

    def _put_back(self, moment: Any) -> None:
        import torch

        with torch.no_grad():
            for name, parameter in self._trainer.parameters.items():
                parameter.copy_(moment[name])
