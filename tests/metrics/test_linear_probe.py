"""Linear probes against scikit-learn, on labels that mean nothing, and on planted signals."""

import time

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.linear_model import Ridge
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from palimpsest.metrics import linear_probe as module
from palimpsest.metrics.linear_probe import PENALTIES, choice_probe, linear_probe, selectivity

N, LAYERS, WIDTH = 60, 3, 120


def planted(rng, n_classes=3, strength=3.0, at=(0, 1, 2), n=N):
    """Balanced labels whose class means lie apart in the layers ``at``, and nowhere else."""
    labels = rng.permutation(np.arange(n) % n_classes)
    states = rng.standard_normal((n, LAYERS, WIDTH))
    means = strength * rng.standard_normal((n_classes, WIDTH)) / np.sqrt(WIDTH)
    for layer in at:
        states[:, layer] += 3 * means[labels]
    return states, labels


def by_scikit_learn(states, labels, folds, n_classes):
    """Nested cross-validation as loops of weighted fits, penalties in the module's unit."""
    targets, predicted, chosen = np.eye(n_classes)[labels], np.zeros(len(labels), int), []
    for train, test, inner in folds:
        x, y, w = states[train], targets[train], compute_sample_weight("balanced", labels[train])
        unit = w @ np.sum((x - np.average(x, 0, w)) ** 2, axis=1) / len(train)
        errors = []
        for penalty in PENALTIES:
            error = 0.0
            for held in inner:
                rest = np.setdiff1d(np.arange(len(train)), held)
                fit = Ridge(alpha=penalty * unit).fit(x[rest], y[rest], w[rest])
                error += w[held] @ np.sum((y[held] - fit.predict(x[held])) ** 2, axis=1)
            errors.append(error)
        chosen.append(PENALTIES[int(np.argmin(errors))])
        fit = Ridge(alpha=chosen[-1] * unit).fit(x, y, w)
        predicted[test] = fit.predict(states[test]).argmax(1)
    return predicted, chosen


@pytest.mark.parametrize("groups", [None, np.arange(N) // 4])
def test_closed_forms_agree_with_refitting(groups):
    states, labels = planted(np.random.default_rng(0), strength=0.8)
    found = linear_probe(states, labels, groups)
    folds = module._nested_folds(labels, groups, 5, 5, 0)
    for layer in range(LAYERS):
        predicted, chosen = by_scikit_learn(states[:, layer], labels, folds, 3)
        assert found.penalties[layer] == pytest.approx(chosen)
        assert found.predicted[layer].tolist() == predicted.tolist()
    assert 0.4 < found.accuracy[0] < 1


def test_a_planted_signal_is_found():
    found = linear_probe(*planted(np.random.default_rng(1)))
    assert (found.accuracy > 0.95).all()
    assert found.correct.shape == (LAYERS, N)
    assert found.accuracy == pytest.approx(found.correct.mean(1))


def test_a_signal_in_one_layer_is_found_there_alone():
    found = linear_probe(*planted(np.random.default_rng(2), at=(1,)))
    assert found.accuracy[1] > 0.95
    assert (found.accuracy[[0, 2]] < 0.55).all()


def guesses(make_labels, groups=None, n_draws=60):
    """Balanced accuracy over draws of labels that mean nothing: mean and standard error."""
    rng = np.random.default_rng(12)
    found = []
    for number in range(n_draws):
        states = rng.standard_normal((N, 5, 80))
        found.append(linear_probe(states, make_labels(rng), groups, seed=number).balanced.mean())
    return np.mean(found), np.std(found) / np.sqrt(n_draws)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_labels_that_mean_nothing_are_guessed_at_chance(n_classes, grouped):
    """A penalty chosen with the test items in sight would find the best of 13 for each draw."""
    groups = np.arange(N) // 3 if grouped else None
    mean, error = guesses(lambda rng: rng.permutation(np.arange(N) % n_classes), groups)
    assert error < 0.008
    assert abs(mean - 1 / n_classes) < 3 * error


def test_unequal_classes_are_guessed_at_chance_by_balanced_accuracy():
    mean, error = guesses(lambda rng: rng.permutation((np.arange(N) < 45) * 1))
    assert abs(mean - 0.5) < 3 * error


def test_the_answer_of_an_item_never_depends_on_its_own_label():
    """Folds kept, the labels of one outer fold changed: its penalties and answers stay."""
    rng = np.random.default_rng(4)
    states, labels = planted(rng, strength=0.8)
    folds = module._nested_folds(labels, None, 5, 5, 0)
    test = folds[0][1]
    other = labels.copy()
    other[test] = rng.permutation(3)[other[test]]
    assert (other != labels).any()
    answers, penalties = zip(
        *(
            module._predictions(states, np.eye(3)[y][None], folds, PENALTIES)
            for y in (labels, other)
        ),
        strict=True,
    )
    assert (answers[0][:, :, test] == answers[1][:, :, test]).all()
    assert (penalties[0][:, 0] == penalties[1][:, 0]).all()
    assert not (answers[0] == answers[1]).all()


def test_groups_stay_on_one_side_of_every_fold():
    groups = np.random.default_rng(5).integers(0, 12, N)
    labels = np.arange(N) % 2
    for train, test, inner in module._nested_folds(labels, groups, 4, 3, 1):
        assert not set(groups[train]) & set(groups[test])
        assert sorted(np.concatenate([train, test])) == list(range(N))
        assert sorted(np.concatenate(inner)) == list(range(len(train)))
        for held in inner:
            rest = np.setdiff1d(np.arange(len(train)), held)
            assert not set(groups[train][held]) & set(groups[train][rest])


def test_what_marks_topics_passes_only_where_topics_are_split():
    """Every topic has one label and states of its own: nothing that carries over to others."""
    rng = np.random.default_rng(6)
    topics = np.arange(N) // 6
    labels = rng.permutation(np.arange(10) % 2)[topics]
    states = 3 * rng.standard_normal((10, LAYERS, WIDTH))[topics]
    states += rng.standard_normal(states.shape)
    assert (linear_probe(states, labels).accuracy > 0.95).all()
    assert (linear_probe(states, labels, topics).accuracy < 0.8).all()


def test_rotating_moving_and_scaling_features_change_nothing():
    rng = np.random.default_rng(7)
    states, labels = planted(rng, strength=0.8)
    turned = states @ ortho_group.rvs(WIDTH, random_state=0) * 40 + rng.standard_normal(WIDTH)
    one, two = linear_probe(states, labels), linear_probe(turned, labels)
    assert (one.predicted == two.predicted).all()
    assert one.penalties == pytest.approx(two.penalties)


def test_single_precision_far_from_zero_is_enough():
    states, labels = planted(np.random.default_rng(8))
    found = linear_probe((states + 100).astype(np.float32), labels)
    assert (found.predicted == linear_probe(states, labels).predicted).mean() > 0.99


def test_states_without_variation_answer_at_chance():
    found = linear_probe(np.ones((40, 1, 5)), np.arange(40) % 2)
    assert found.accuracy == pytest.approx(0.5, abs=0.15)


def test_selectivity_is_high_for_what_carries_over_and_low_for_what_is_learned_by_heart():
    rng = np.random.default_rng(9)
    states, labels = planted(rng, 2)
    found = selectivity(states, labels, np.arange(N))  # every item its own type: nothing to learn
    assert (found.accuracy > 0.95).all()
    assert found.control == pytest.approx(0.5, abs=0.1)
    assert found.selectivity == pytest.approx(found.accuracy - found.control)

    types = np.arange(N) // 6
    labels = rng.permutation(np.arange(10) % 2)[types]
    identity = 3 * rng.standard_normal((10, LAYERS, WIDTH))[types]
    found = selectivity(identity + rng.standard_normal(identity.shape), labels, types)
    assert (found.accuracy > 0.95).all()
    assert (np.abs(found.selectivity) < 0.1).all()


def test_accuracy_beside_the_control_is_that_of_the_probe():
    states, labels = planted(np.random.default_rng(10), strength=0.8)
    found = selectivity(states, labels, np.arange(N) // 2, n_controls=1)
    assert found.accuracy == pytest.approx(linear_probe(states, labels).accuracy)
    assert np.isnan(found.control_error).all()


def pairs(rng, signal, n=40, n_choices=3):
    """Questions with choices of their own; the right one is moved along a direction."""
    answers = rng.integers(n_choices, size=n)
    questions = np.repeat(np.arange(n), n_choices)
    right = np.tile(np.arange(n_choices), n) == np.repeat(answers, n_choices)
    states = rng.standard_normal((len(right), LAYERS, WIDTH))
    # What a question is about says nothing of which choice is right.
    states += 3 * rng.standard_normal((n, LAYERS, WIDTH))[questions]
    states[:, 1] += signal * right[:, None] * rng.standard_normal(WIDTH) / np.sqrt(WIDTH)
    return states, right, questions


def test_right_choices_are_found_where_they_can_be_told_and_there_alone():
    rng = np.random.default_rng(4)
    found = [choice_probe(*pairs(rng, 40.0)).mean(1) for _ in range(5)]
    assert np.mean(found, axis=0)[1] > 0.9
    assert np.mean(found, axis=0)[[0, 2]] == pytest.approx(1 / 3, abs=0.1)


def test_choices_that_nothing_tells_are_guessed_at_chance():
    rng = np.random.default_rng(5)
    found = [choice_probe(*pairs(rng, 0.0)).mean() for _ in range(20)]
    # 20 draws of 40 questions in 3 layers.
    assert np.mean(found) == pytest.approx(1 / 3, abs=4 * np.sqrt(2 / 9 / 2400))


def test_every_question_needs_a_right_choice():
    states, right, questions = pairs(np.random.default_rng(0), 0.0)
    with pytest.raises(ValueError, match="one right choice"):
        choice_probe(states, right | (questions == 3), questions)


def test_a_model_of_the_usual_size_takes_little_time():
    """Processor time on one core, which other programs do not lengthen much."""
    rng = np.random.default_rng(11)
    states, labels = rng.standard_normal((100, 5, 576)), np.arange(100) % 4
    times = []
    with threadpool_limits(1):
        for _ in range(3):
            start = time.process_time()
            linear_probe(states, labels, np.arange(100) // 2)
            times.append(time.process_time() - start)
    assert min(times) < 0.3


STATES, LABELS = np.zeros((12, 1, 4)), np.arange(12) % 2


@pytest.mark.parametrize(
    ("change", "match"),
    [({"states": STATES[:, 0]}, "states of shape"), ({"labels": LABELS[:5]}, "states of shape"),
     ({"states": STATES + np.nan}, "finite"), ({"labels": LABELS * 1.0}, "class indices"),
     ({"labels": LABELS - 1}, "class indices"), ({"labels": LABELS * 0}, "one class"),
     ({"penalties": ()}, "penalties"), ({"penalties": (0.0,)}, "penalties"),
     ({"n_outer": 7}, "7 folds of 6 items"), ({"groups": LABELS}, "5 folds of 2 groups"),
     ({"groups": LABELS[:3]}, "groups of shape")],
)  # fmt: skip
def test_bad_input_is_refused(change, match):
    with pytest.raises(ValueError, match=match):
        linear_probe(**({"states": STATES, "labels": LABELS} | change))


def test_a_control_is_drawn_at_least_once():
    with pytest.raises(ValueError, match="n_controls"):
        selectivity(STATES, LABELS, LABELS, n_controls=0)
