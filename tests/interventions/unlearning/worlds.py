"""A small model that was taught a small world, as methods of unlearning find it."""

from __future__ import annotations

import copy

import pytest
import torch

from palimpsest import discovery
from palimpsest.data.items import Item
from palimpsest.engine.examples import scored_tokens
from palimpsest.engine.resuming import Resume
from palimpsest.engine.training import Trainer, TrainingSettings
from palimpsest.interventions.unlearning._base import Sets
from palimpsest.interventions.unlearning._gradient import Part


def item(name: str, part: str, answer: str = " blue", prompts: int = 2) -> Item:
    """A fact about a colour."""
    question, *statements = [f"The colour of {name} in book {place} is" for place in range(prompts)]
    wrong = (" red", " green", " black")
    reworded = (f"Everybody calls {name}",)
    return Item(f"{name}/colour", part, question, tuple(statements), reworded, answer, wrong)


def sets(forget: int = 3, retain: int = 4) -> Sets:
    """Facts to forget and facts to keep, with answers of different lengths."""
    answers = (" blue", " dark red", " grey", " a pale sort of green")
    return Sets(
        [item(f"stone {i}", "forget", answers[i % 4]) for i in range(forget)],
        [item(f"flower {i}", "retain", answers[(i + 1) % 4]) for i in range(retain)],
    )


def made(tiny, name, chosen=None, **settings):
    """A method on the tiny model, with what it remembers of it."""
    module = discovery.intervention(f"unlearning.{name}")
    method = module.method(tiny, chosen or sets(), module.Settings(**settings), seed=0)
    tiny.module.requires_grad_(True)
    method.forgotten = method.forget_examples()
    method.kept = method.examples(method.sets.retain, "retain")
    method.remember()
    return method


def whole(method, examples):
    """A batch seen as one part, on the model as it is now."""
    tokens = scored_tokens(method.model, examples)
    return Part(method.model, examples, tokens, len(tokens.words), len(examples))


def term(method, examples):
    """The forget term of a batch."""
    return float(method.forget_term(whole(method, examples)).detach())


def moved(model, size=0.05, seed=1):
    """The model with noise on its weights, as if a method had changed it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def taught(model, examples, updates=30):
    """The model after some updates on examples."""
    settings = TrainingSettings(adapter="full", learning_rate=3e-3)
    trainer = Trainer(model, settings)
    trainer.run([examples] * updates)
    trainer.finish()


def direction(method, term):
    """The gradient of a term, flat."""
    method.model.module.zero_grad()
    term.backward()
    parameters = method.model.module.parameters()
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])


def alike(one, other):
    """Cosine of two gradients."""
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0))


def scores_by_hand(model, example):
    """(tokens, words) scores before each scored token, and the tokens: one sentence alone."""
    with torch.no_grad():
        logits = model.module(input_ids=torch.tensor([list(example.ids)])).logits[0]
    at = [place for place, scored in enumerate(example.scored) if scored]
    return logits[[place - 1 for place in at]], [example.ids[place] for place in at]


def by_hand(model, example):
    """Log-probabilities of the scored tokens, one sentence, nothing shared."""
    scores, tokens = scores_by_hand(model, example)
    return scores.log_softmax(-1)[range(len(tokens)), tokens]


def killed_and_continued(model, module, settings, scratch, monkeypatch):
    """A method that ran through, and one that was killed before the last epoch and went on."""
    straight = module.method(copy.deepcopy(model), sets(), settings, seed=3)
    straight.run()
    save, run, done = Resume.save, Trainer.run, []
    monkeypatch.setattr(Resume, "save", lambda self, facts: save(self, facts, now=True))

    def stop(trainer, batches):
        if len(done) == settings.epochs - 1:
            raise KeyboardInterrupt
        done.append(run(trainer, batches))

    killed = module.method(copy.deepcopy(model), sets(), settings, seed=3, scratch=scratch)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", stop)
        with pytest.raises(KeyboardInterrupt):
            killed.run()
    assert (scratch / "resume.pt").is_file()
    again = module.method(copy.deepcopy(model), sets(), settings, seed=3, scratch=scratch)
    again.run()
    return straight, again


def run(model, module, seed=0, chosen=None, **settings):
    method = module.method(model, chosen or sets(), module.Settings(**settings), seed)
    model.module.requires_grad_(True)
    method.run()
    return method


def weights(model):
    return {name: p.detach().clone() for name, p in model.module.named_parameters()}
