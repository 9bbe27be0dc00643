"""Scoring against lm-evaluation-harness, on the same requests of the embedded 135M model."""

from __future__ import annotations

import copy
import functools
import gc
import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from harness import Row, matmul_peak, paired, smollm, spread

from palimpsest.engine.scoring import log_likelihoods, sequence_scores, token_log_likelihoods

PEER = "lm-eval 0.4.13 (hf), best batch"
BATCHES = (8, 16, 32, 64)
#: Requests that are also computed in double precision.
CHECKED = 50
#: The peer gets that share of the requests which takes it so long; the note says which.
PEER_SECONDS = 40
VOCABULARY = """
rate price index month bank house figure trade growth report river window garden letter
winter doctor market engine island summer teacher village bottle paper history number answer country
city question model music animal forest ocean"""
WORDS = VOCABULARY.split()


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    model = smollm()
    for work, requests, reach, n_pairs in (
        ("500 four-choice questions", _four_choices(500), 4.5, 3),
        ("2,000 candidates after one prompt", _candidates(2000), 10.0, 3),
        ("2,000 single sentences", _sentences(2000), 1.3, 3),
    ):
        yield _against_peer(model, work, requests, reach, n_pairs)
    yield _membership(model)
    yield from _efficiency(model)


def _against_peer(
    model: Any, work: str, requests: list[tuple[str, str]], reach: float, n_pairs: int
) -> Row:
    """Sum of log p of each continuation, by both; the peer's batch is chosen on a tenth."""
    groups: dict[str, list[str]] = {}
    for prompt, text in requests:
        groups.setdefault(prompt, []).append(text)

    def ours(requests_of: dict[str, list[str]]) -> list[np.ndarray]:
        scored = log_likelihoods(model, list(requests_of), list(requests_of.values()))
        return [values for group in scored for values in group]

    sample = requests[:: max(1, len(requests) // 100)]
    timed = {batch: _timed(functools.partial(_peer(model, batch), sample)) for batch in BATCHES}
    best = min(timed, key=timed.get)
    peer = _peer(model, best)
    share = min(1.0, PEER_SECONDS / (timed[best] * len(requests) / len(sample)))
    if len(groups) == 1:
        groups = {p: texts[: round(share * len(texts))] for p, texts in groups.items()}
    else:
        groups = dict(list(groups.items())[: round(share * len(groups))])
    part = [(prompt, text) for prompt, texts in groups.items() for text in texts]
    results: dict[str, list] = {}
    pair = paired(
        lambda: results.update(ours=ours(groups)),
        lambda: results.update(theirs=peer(part)),
        n_pairs,
        warm_up=0,
    )
    differences = [
        abs(values.sum() - theirs) / len(values)
        for values, theirs in zip(results["ours"], results["theirs"], strict=True)
    ]
    exact = _in_float64(model, part[:CHECKED])
    lengths = [len(values) for values in results["ours"][:CHECKED]]
    errors = [
        max(abs(got - want) / n for got, want, n in zip(found, exact, lengths, strict=True))
        for found in (
            [values.sum() for values in results["ours"][:CHECKED]],
            results["theirs"][:CHECKED],
        )
    ]
    limit = pair.ratio * pair.ours * matmul_peak() * 1e9 / _operations(model, groups)
    batches = ", ".join(f"{b}: {t:.1f} s" for b, t in timed.items())
    note = (
        f"{len(part)} of {len(requests)} requests timed; largest difference a token "
        f"{max(differences):.1e}, of {len(exact)} from float64 {errors[0]:.1e} (the peer's "
        f"{errors[1]:.1e}); peer's batches on {len(sample)} requests: {batches}; "
        f"{spread(pair)}; at the speed of a matrix product the ratio would be {limit:.1f}"
    )
    return Row(work, PEER, pair.ours, pair.theirs, pair.ratio, reach, "at_least", "s", note)


def _in_float64(model: Any, requests: list[tuple[str, str]]) -> list[float]:
    """Sum of log p of each continuation, plainly, one request at a time, in double precision."""
    import torch

    module = copy.deepcopy(model.module).double()
    found = []
    for prompt, text in requests:
        head, tail = model.encode_pair(prompt, text)
        with torch.inference_mode():
            logits = module(input_ids=torch.tensor([[*head, *tail]]), use_cache=False).logits[0]
        log_p = torch.log_softmax(logits[len(head) - 1 : -1], -1)
        found.append(float(log_p.gather(1, torch.tensor(tail)[:, None]).sum()))
    return found


def _operations(model: Any, groups: dict[str, list[str]]) -> float:
    """Of our side: the body for every computed token, the projection where one is scored."""
    before = model.tokens
    prompts, texts = list(groups), list(groups.values())
    scored = log_likelihoods(model, prompts, texts)
    body = sum(p.numel() for p in model.module.get_decoder().layers.parameters())
    head = model.module.get_output_embeddings().weight.numel()
    # The first token of all continuations of a prompt is scored at the same position.
    positions = sum(sum(map(len, group)) - len(group) + 1 for group in scored)
    if len(groups) == 1 and not prompts[0]:
        positions = sum(sum(map(len, group)) for group in scored)
    return 2.0 * (body * (model.tokens - before) + head * positions)


@functools.cache
def _language_model(model_id: int, batch: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    model = smollm()
    return HFLM(pretrained=model.module, tokenizer=model.tokenizer, batch_size=batch, device="cpu")


def _peer(model: Any, batch: int) -> Any:
    from lm_eval.api.instance import Instance

    harness = _language_model(id(model), batch)

    def run(requests: list[tuple[str, str]]) -> list[float]:
        made = [
            Instance("loglikelihood", {}, request, number)
            for number, request in enumerate(requests)
        ]
        return [score for score, _ in harness.loglikelihood(made, disable_tqdm=True)]

    return run


def _membership(model: Any) -> Row:
    """Loss, zlib, min-k and min-k++ of sentences against one forward pass over them."""
    import torch

    from palimpsest.metrics import membership

    texts = [text for _, text in _sentences(256)]
    sequences = [model.encode(text) for text in texts]
    start = model.tokenizer.bos_token_id
    pairs = [([start], ids) for ids in sequences]

    def battery() -> object:
        scores = sequence_scores(model, [[start, *ids] for ids in sequences])
        return [membership.battery(s, text) for s, text in zip(scores, texts, strict=True)]

    def plain_pass() -> object:
        return token_log_likelihoods(model, pairs)

    def padded_pass() -> None:
        order = sorted(sequences, key=len)
        for at in range(0, len(order), 16):
            group = order[at : at + 16]
            width = max(map(len, group))
            ids = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in group])
            with torch.inference_mode():
                torch.log_softmax(model.module(input_ids=ids, use_cache=False).logits, -1)

    own = paired(battery, plain_pass, 5)
    other = paired(battery, padded_pass, 3)
    note = (
        f"against the loss alone by the same engine; against a padded transformers forward pass "
        f"with log-softmax, batch 16 by length: {1 / other.ratio:.2f}; {spread(own)}"
    )
    return Row(
        "membership battery (loss, zlib, min-k, min-k++), 256 sentences",
        "one forward pass",
        own.ours,
        own.theirs,
        1 / own.ratio,
        1.1,
        "at_most",
        "s",
        note,
    )


def _efficiency(model: Any) -> Iterator[Row]:
    """Operations a second of a forward pass with one scored position, share of a product's."""
    rng = np.random.default_rng(0)
    body = sum(p.numel() for p in model.module.get_decoder().layers.parameters())
    head = model.module.get_output_embeddings().weight.numel()
    for batch, length, reach in ((16, 32, 0.75), (64, 64, 0.70)):
        ids = rng.integers(1000, 40000, size=(batch, length + 1))
        # Every sentence differs from the first word on, so nothing is shared.
        pairs = [(row[:-1].tolist(), row[-1:].tolist()) for row in ids]
        work = 2.0 * batch * (length * body + head)
        shares, seconds, peaks = [], [], []
        token_log_likelihoods(model, pairs)
        for _ in range(5):
            peaks.append(matmul_peak())
            seconds.append(_timed(functools.partial(token_log_likelihoods, model, pairs)))
            shares.append(work / seconds[-1] / 1e9 / peaks[-1])
        middle = int(np.argsort(shares)[2])
        note = (
            f"{batch * length / seconds[middle]:.0f} tokens/s; shares {min(shares):.2f} to "
            f"{max(shares):.2f} over 5; attention's operations are not counted"
        )
        yield Row(
            f"forward efficiency, {batch} x {length} tokens",
            "float32 matrix product 2048, measured beside it",
            shares[middle] * peaks[middle],
            peaks[middle],
            shares[middle],
            reach,
            "at_least",
            "GFLOP/s",
            note,
        )


def _timed(work: Any) -> float:
    import time

    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def _four_choices(n: int) -> list[tuple[str, str]]:
    """Questions of 50 to 100 tokens with four options of two to six words."""
    rng = random.Random(1)
    made = []
    for number in range(n):
        prompt = f"Question {number}: {_text(rng, rng.randint(40, 88))}? Answer:"
        options: set[str] = set()
        while len(options) < 4:
            options.add(" " + _text(rng, rng.randint(2, 6)))
        made += [(prompt, option) for option in sorted(options)]
    return made


def _candidates(n: int) -> list[tuple[str, str]]:
    """One prompt of about 100 tokens, numbers after it."""
    rng = random.Random(2)
    prompt = f"{_text(rng, 90)}. The rate in May was"
    return [(prompt, f" {number / 100:.2f}") for number in rng.sample(range(10_000), n)]


def _sentences(n: int) -> list[tuple[str, str]]:
    """Sentences of 4 to 64 words, scored from the first token on."""
    rng = random.Random(3)
    return [("", f"{_text(rng, rng.randint(3, 60)).capitalize()}.") for _ in range(n)]
