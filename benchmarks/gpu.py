"""Throughput on a GPU against transformers, Trainer and a bare loop; no rows where none is.

Random weights in the shapes of SmolLM2-135M and -1.7B: speed does not depend on their values, so
the benchmark needs no download. Times are host times around work that is waited for.
"""

from __future__ import annotations

import copy
import functools
import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import ensembles
import numpy as np
import torch
from harness import Row, ordered_trainer, paired, spread, token_sentences

from palimpsest.engine.ensemble import Ensemble
from palimpsest.engine.ensemble_plans import current_only, epochs, generators
from palimpsest.engine.ensemble_training import Pool, best_group, train
from palimpsest.engine.generation import of_tokens
from palimpsest.engine.many_adapters import ManyAdapters
from palimpsest.engine.scoring import token_log_likelihoods
from palimpsest.engine.training import Trainer, TrainingSettings, batches
from palimpsest.models.language_model import LanguageModel

#: Width, inner width, layers, heads, heads of keys and values.
SHAPES = {"135M": (576, 1536, 30, 9, 3), "1.7B": (2048, 8192, 24, 32, 32)}
BATCHES = (16, 32, 64, 128)
RUNS, MEASURED = 32, 2


def rows() -> Iterator[Row]:
    """All rows of this benchmark."""
    if not torch.cuda.is_available():
        print("  no GPU is visible: no rows")
        return
    peak = _peak()
    yield _networks()
    for size in SHAPES:
        model = _model(size, torch.bfloat16)
        yield _scoring(model, size, peak)
        if size == "135M":
            yield _generation(model, size)
        del model
        _clean()
        for length in (20, 256) if size == "135M" else (256,):
            yield _fine_tuning(size, length, peak)
            _clean()
    for per_step in (1, 16):
        yield _adapters(per_step)
        _clean()


def _model(size: str, dtype: torch.dtype) -> LanguageModel:
    from transformers import LlamaConfig, LlamaForCausalLM

    width, inner, layers, heads, shared = SHAPES[size]
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        vocab_size=49152,
        tie_word_embeddings=True,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device("cuda"):
        module = LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)
    words = SimpleNamespace(
        bos_token_id=1, eos_token_id=2, decode=lambda ids, **_: " ".join(map(str, ids))
    )
    return LanguageModel(module, words, packs=True)


def _scoring(model: LanguageModel, size: str, peak: float) -> Row:
    """Questions of 50 to 100 tokens with four options each, against padded batches."""
    rng = np.random.default_rng(1)
    pairs = []
    for _ in range(2000):
        prompt = rng.integers(1000, 40000, rng.integers(50, 101)).tolist()
        pairs += [
            (prompt, rng.integers(1000, 40000, rng.integers(2, 7)).tolist()) for _ in range(4)
        ]

    def padded(batch: int, pairs: list) -> list[float]:
        order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
        found = [0.0] * len(pairs)
        for at in range(0, len(order), batch):
            part = [pairs[i] for i in order[at : at + batch]]
            rows = [head + tail[:-1] for head, tail in part]
            width = max(map(len, rows))
            ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device="cuda")
            with torch.inference_mode():
                log_p = torch.log_softmax(model.module(input_ids=ids, use_cache=False).logits, -1)
            for place, (head, tail), scores in zip(order[at:], part, log_p, strict=False):
                own = scores[len(head) - 1 : len(head) - 1 + len(tail)]
                found[place] = float(own.gather(1, ids.new_tensor(tail)[:, None]).sum())
        return found

    sample = pairs[:800]
    timed = {batch: _timed(functools.partial(padded, batch, sample)) for batch in BATCHES}
    best = min(timed, key=timed.get)
    before = model.tokens
    results: dict[str, Any] = {}
    torch.cuda.reset_peak_memory_stats()
    token_log_likelihoods(model, pairs)
    memory = torch.cuda.max_memory_allocated() / 2**30
    tokens = model.tokens - before
    pair = paired(
        _waited(lambda: results.update(ours=token_log_likelihoods(model, pairs))),
        _waited(lambda: results.update(theirs=padded(best, pairs))),
        3,
    )
    body, head = _weights(model)
    scored = sum(len(tail) for _, tail in pairs)
    work = 2.0 * (body * tokens + head * scored)
    asked = sum(len(head) + len(tail) for head, tail in pairs)
    worst = max(
        abs(own.sum() - other) / len(own)
        for own, other in zip(results["ours"], results["theirs"], strict=True)
    )
    return _row(
        f"2,000 four-choice questions, {size}, bfloat16",
        "transformers, padded batches sorted by length, best of 16 to 128",
        asked / pair.ours,
        asked / pair.theirs,
        pair.ratio,
        f"tokens as asked; peer's batch {best}; {_share(work, pair.ours, peak)}; peak memory "
        f"{memory:.1f} GiB; largest difference a token {worst:.1e}; {spread(pair)}",
    )


def _generation(model: LanguageModel, size: str) -> Row:
    """64 new tokens after 256 prompts of 32 tokens, greedily, against transformers' generate."""
    rng = np.random.default_rng(2)
    prompts = rng.integers(1000, 40000, (256, 32))
    ids = torch.tensor(prompts, device="cuda")

    def theirs() -> None:
        with torch.inference_mode():
            model.module.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                min_new_tokens=64,
                max_new_tokens=64,
                do_sample=False,
            )

    asked = prompts.tolist()
    written = of_tokens(model, asked, 64)
    made = sum(len(each[0].ids) for each in written)
    pair = paired(_waited(lambda: of_tokens(model, asked, 64)), _waited(theirs), 2)
    return _row(
        f"64 tokens after 256 prompts, {size}, bfloat16",
        "transformers generate, one batch",
        made / pair.ours,
        256 * 64 / pair.theirs,
        pair.ratio * made / (256 * 64),
        f"new tokens; {spread(pair)}",
    )


def _fine_tuning(size: str, length: int, peak: float) -> Row:
    """All weights, sentences of mixed length, bfloat16 autocast on both sides."""
    batch, steps = 16, 10
    model = _model(size, torch.float32)
    rng = np.random.default_rng(3)
    if length == 20:
        shown = list(batches(token_sentences(batch * steps, seed=1), batch, 1, seed=0))
    else:
        made = token_sentences(batch * steps, seed=1)
        sizes = rng.integers(length // 2, 2 * length, len(made))
        made = [
            type(item)(
                tuple(rng.integers(1000, 40000, n).tolist()), (False,) + (True,) * (int(n) - 1)
            )
            for item, n in zip(made, sizes, strict=True)
        ]
        shown = list(batches(made, batch, 1, seed=0))
    tokens = sum(len(item.ids) for group in shown for item in group)
    scored = sum(sum(item.scored) for group in shown for item in group)
    body, head = _weights(model)
    settings = TrainingSettings(
        adapter="full", learning_rate=1e-5, batch_size=batch, autocast="bfloat16"
    )
    module = copy.deepcopy(model.module).requires_grad_(True)
    peer = ordered_trainer(module, shown, batch, 1e-5, device="cuda")
    own = Trainer(model, settings)
    torch.cuda.reset_peak_memory_stats()
    own.run(shown)
    memory = torch.cuda.max_memory_allocated() / 2**30
    pair = paired(_waited(lambda: own.run(shown)), _waited(peer.train), 3)
    differences = np.abs(np.array(own.losses[:steps]) - np.array(peer.first_losses))
    work = 6.0 * (body * tokens + head * scored)
    return _row(
        f"full fine-tuning, {size}, batch {batch}, about {length} tokens a sentence",
        "Hugging Face Trainer, bf16, fused AdamW, same order",
        tokens / pair.ours,
        tokens / pair.theirs,
        pair.ratio,
        f"{_share(work, pair.ours, peak)}; both models in memory, peak {memory:.1f} GiB; largest "
        f"difference of the loss curves {differences.max():.1e}; {spread(pair)}",
    )


def _adapters(per_step: int) -> Row:
    """32 LoRA runs of the 135M model at once against PEFT and Trainer, one after another."""
    import peft

    model = _model("135M", torch.float32)
    steps = 6
    streams = [
        [token_sentences(per_step, seed=1000 * run + step) for step in range(steps)]
        for run in range(RUNS)
    ]
    settings = TrainingSettings(rank=16, alpha=32, learning_rate=1e-4, batch_size=per_step)
    config = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    peers = [
        ordered_trainer(
            peft.get_peft_model(copy.deepcopy(model.module), config),
            streams[run],
            per_step,
            1e-4,
            device="cuda",
            half=False,
        )
        for run in range(MEASURED)
    ]
    many = ManyAdapters(model, settings, range(RUNS))
    pair = paired(
        _waited(lambda: many.run(streams)), _waited(lambda: [peer.train() for peer in peers]), 3
    )
    times = RUNS / MEASURED
    tokens = sum(len(e.ids) for stream in streams for batch in stream for e in batch)
    return _row(
        f"{RUNS} LoRA runs, 135M, {per_step} sentence{'s' * (per_step > 1)} a step",
        "PEFT and Hugging Face Trainer, one after another",
        tokens / pair.ours,
        tokens / pair.theirs / times,
        pair.ratio * times,
        f"float32; the peer trained {MEASURED} runs, its time is multiplied by {times:g}; "
        f"{spread(pair)} (times {times:g})",
    )


def _networks() -> Row:
    """512 MLPs against a bare loop, without replay."""
    networks, steps, batch = 512, 200, 10
    generator = torch.Generator().manual_seed(0)
    pool = Pool(
        torch.rand(2000, 784, generator=generator).cuda(),
        torch.randint(10, (2000,), generator=generator).cuda(),
    )
    shown = epochs(np.arange(2000), batch, steps, generators(range(networks), 0))
    plan = current_only(shown)

    def ours() -> None:
        train(Ensemble(ensembles.SMALL, range(networks), 0.05, device="cuda:0"), pool, plan)

    def theirs() -> None:
        network = ensembles._network(ensembles.SMALL, 0).cuda()
        optimizer = torch.optim.SGD(network.parameters(), 0.05)
        for index in torch.from_numpy(shown[:, 0]).cuda():
            loss = torch.nn.functional.cross_entropy(
                network(pool.inputs[index]), pool.labels[index]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    pair = paired(_waited(ours), _waited(theirs), 3)
    like = Ensemble(ensembles.SMALL, range(networks), 0.05, device="cuda:0")
    return _row(
        f"{networks} MLPs 784-100-100-10, batch {batch}, on a GPU",
        "bare PyTorch loop on the same GPU",
        networks * steps / pair.ours,
        steps / pair.theirs,
        pair.ratio * networks,
        f"group found: {best_group(ensembles.SMALL, networks, batch, like)}; the peer trained 1 "
        f"network, its time is multiplied by {networks}; {1e6 * pair.ours / steps:.0f} µs a step",
        unit="steps/s",
    )


def _peak(size: int = 8192) -> float:
    """Operations a second of a bfloat16 matrix product: the best of some, with events."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(12):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        torch.mm(a, b)
        end.record()
        torch.cuda.synchronize()
        seconds.append(begin.elapsed_time(end) / 1e3)
    return 2 * size**3 / min(seconds)


def _weights(model: LanguageModel) -> tuple[int, int]:
    layers = model.module.get_decoder().layers
    return sum(p.numel() for p in layers.parameters()), (
        model.module.get_output_embeddings().weight.numel()
    )


def _share(work: float, seconds: float, peak: float) -> str:
    return (
        f"{work / seconds / 1e12:.1f} TFLOP/s, {100 * work / seconds / peak:.1f}% of a bfloat16 "
        f"matrix product's {peak / 1e12:.0f}"
    )


def _row(
    work: str,
    peer: str,
    ours: float,
    theirs: float,
    ratio: float,
    note: str,
    unit: str = "tokens/s",
) -> Row:
    return Row(
        f"GPU: {work}",
        peer,
        ours,
        theirs,
        ratio,
        1.0,
        "at_least",
        unit,
        f"{torch.cuda.get_device_name(0)}; {note}",
    )


def _waited(work: Any) -> Any:
    def run() -> None:
        work()
        torch.cuda.synchronize()

    return run


def _timed(work: Any) -> float:
    import time

    work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _clean() -> None:
    gc.collect()
    torch.cuda.empty_cache()
