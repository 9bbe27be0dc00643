"""What methods are shown, in which batches, and for how many updates."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch

from palimpsest.data.items import Item, full_stop
from palimpsest.engine.scoring import token_log_likelihoods
from palimpsest.engine.training import Trainer
from palimpsest.interventions._items import item_example
from palimpsest.interventions.unlearning import guard, idk_dpo, idk_nll, random_labels, refresh, whp
from palimpsest.interventions.unlearning._base import Sets, run_counted
from tests.interventions.unlearning.worlds import by_hand, made, run, sets, weights


def test_each_batch_has_as_many_retained_as_forgotten_and_all_in_turn(tiny):
    """No retained example is seen twice before all were seen, also from batch to batch; the order
    is another in each epoch."""
    method = made(tiny, "grad_diff", sets(forget=9, retain=3), batch_size=4)
    orders = []
    for epoch in range(2):
        seen = []
        for batch in method.epoch(epoch):
            roles = Counter(each.role for each in batch)
            assert roles["retain"] == roles["forget"] > 0
            seen += [each for each in batch if each.role == "retain"]
        assert len(seen) == len(method.forgotten) == 18
        for start in range(0, 18, 6):
            assert set(seen[start : start + 6]) == set(method.kept)
        orders.append(seen)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("batch_size", [4, 5, 6])
def test_schedules_end_with_the_last_update(tiny, monkeypatch, batch_size):
    """The last batch of an epoch may be smaller; it is an update too."""
    given = []
    kept = Trainer.__post_init__
    monkeypatch.setattr(
        Trainer, "__post_init__", lambda self: given.append(self.steps) or kept(self)
    )
    from palimpsest.interventions.unlearning import npo

    method = run(tiny, npo, epochs=2, batch_size=batch_size, schedule="cosine")
    assert given == [method.notes["updates"]]


def test_refreshing_unlearns_before_every_batch_on_its_forgotten_examples_alone(tiny, monkeypatch):
    stepped = []
    monkeypatch.setattr(refresh.Refreshing, "_unlearn", lambda self, each: stepped.append(each))
    method = run(tiny, refresh, epochs=2, batch_size=2)
    assert len(stepped) == method.notes["updates"] == 6
    assert all(each.role == "forget" for batch in stepped for each in batch)
    assert Counter(each for batch in stepped for each in batch) == Counter(2 * method.forgotten)


TEXT = Item("a/text", "forget", "", (), (), "The red mill was sold in May.", ())
OTHER = replace(TEXT, id="b/text", answer="Nobody knew where the river began.")


@pytest.mark.parametrize("module", [random_labels, idk_nll, idk_dpo])
def test_a_text_is_no_answer_to_anything(tiny, module):
    """Another text would be taught in its place, and what declines would decline everything."""
    mixed = Sets([TEXT, OTHER, *sets().forget], sets().retain)
    method = module.method(tiny, mixed, module.Settings(epochs=1), seed=0)
    tiny.module.requires_grad_(True)
    shown = []
    before = Trainer.run

    def watched(trainer, batches):
        found = list(batches)
        shown.extend(each for batch in found for each in batch if each.role == "forget")
        return before(trainer, found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "run", watched)
        method.run()
    assert len(shown) == 6
    texts = {tuple(item_example(tiny, text).ids) for text in (TEXT, OTHER)}
    assert texts.isdisjoint(tuple(each.ids) for each in shown)
    with pytest.raises(ValueError, match="texts alone; allowed: questions"):
        run(tiny, module, chosen=Sets([TEXT, OTHER], sets().retain), epochs=1)


@pytest.mark.parametrize("module", [random_labels, idk_nll, idk_dpo])
def test_files_of_texts_alone_are_refused_before_any_job(module, tmp_path):
    for name, text in (("forget", "The mill was sold."), ("retain", "The river is deep.")):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{text}"}}\n')
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("forget", "retain")}
    with pytest.raises(ValueError, match=r"forget\.jsonl holds texts alone"):
        module.check(module.Settings(**files), None)


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        (" blue", "."),
        (" She was born in Kuwait City.", ""),
        (" Really?", ""),
        (' He said "no."', ""),
        (" St. Gallen", "."),
        (" in (fact)", "."),
    ],
)
def test_a_sentence_ends_once(answer, end):
    assert full_stop(answer) == end


def test_what_is_trained_is_what_is_read(tiny):
    """The tokens of an answer that ends its own sentence are those that readings score; a second
    full stop would grow together with the first one into another token."""
    item = Item("a/b", "forget", "Who wrote it?", (), (), " Nobody did.", ())
    head, tail = tiny.encode_pair(item.question, item.answer)
    shown = item_example(tiny, item)
    assert list(shown.ids) == head + tail
    (read,) = token_log_likelihoods(tiny, [(head, tail)])
    assert read == pytest.approx(by_hand(tiny, shown).numpy(), abs=1e-5)


def test_a_wrong_answer_ends_its_sentence_once(tiny):
    item = Item("a/b", "forget", "Who wrote it?", (), (), " Nobody did.", (" Somebody did.",))
    (preferred,) = made(tiny, "dpo", Sets([item], sets().retain)).preferred_examples()
    assert tiny.decode(list(preferred.ids)).endswith("Somebody did.")


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_reinforcement_has_its_own_constant_rate_and_counts_as_work(tiny, adapter):
    method = run(
        tiny, whp, epochs=2, batch_size=4, adapter=adapter, schedule="cosine", warmup=0.5,
        reinforce_epochs=3, reinforce_rate=1e-3,
    )  # fmt: skip
    assert method.notes["updates"] == 2 * 2 + 3 * 2


def test_what_is_measured_of_a_guard_is_none_of_its_cost(tiny):
    chosen = sets()
    method = guard.method(tiny, chosen, guard.Settings(), seed=0)
    costs = run_counted(method)
    again = guard.method(tiny, chosen, guard.Settings(), seed=0)
    before = tiny.tokens
    again.run()
    assert costs["tokens"] == tiny.tokens - before
    assert method.notes["seconds_per_token"].keys() == {"guarded", "without"}


def test_the_weights_of_a_model_are_counted_without_what_is_added(tiny):
    from palimpsest.interventions.unlearning import npo

    before = sum(each.numel() for each in weights(tiny).values())
    method = npo.method(tiny, sets(), npo.Settings(epochs=1, adapter="lora"), seed=0)
    tiny.module.requires_grad_(True)
    assert run_counted(method)["weights"] == before


def test_rows_that_would_see_one_another_are_refused(tiny):
    """Where an architecture mixes the sentences of a row, hidden states are not those of each."""
    from palimpsest.engine.plain import NotPackableError
    from palimpsest.interventions.unlearning import rmu

    tiny.packs = False
    with pytest.raises(NotPackableError), torch.no_grad():
        run(tiny, rmu, epochs=1)
