"""Keys are told from what else may be sent to a server."""

from __future__ import annotations

import pytest

from palimpsest.models.keys import holds_a_key, is_named_like_a_key

NAMES = [
    "api_key", "apiKey", "API-KEY", "x-api-key", "Authorization", "hf_token", "token",
    "accessToken", "OPENAI_API_KEY", "aws_secret_access_key", "password", "db_passwd", "key",
    "auth", "client_secret", "credentials"
]  # fmt: skip
#: Fields of the OpenAI protocol, vLLM, llama.cpp, OpenRouter and others.
OTHERS = [
    "reasoning_effort", "prompt_cache_key", "min_tokens", "max_thinking_tokens",
    "stop_token_ids", "user", "top_k", "skip_special_tokens", "thinking_budget_tokens",
    "repetition_penalty", "service_tier", "safety_identifier", "guided_regex",
    "add_generation_prompt", "verbosity", "key_terms", "author", "pattern", "cache_prompt",
    "n_keep"
]  # fmt: skip
KEYS = [
    "sk-canary-5d1c77e0",
    "sk-proj-Abc123Abc123Abc123_x-y",
    "hf_CANARYcanaryCANARYcanary000001",
    "AKIA" + "ABCDEFGH12345678",
    "Bearer abcdefgh",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "-----BEGIN PRIVATE KEY-----",
]
TEXTS = [
    "low",
    "hf-internal-testing/tiny",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "the quick brown Fox jumps over 13 lazy dogs",
    "sk-learn-and-other-things",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_keys(name):
    assert is_named_like_a_key(name)


@pytest.mark.parametrize("name", OTHERS)
def test_names_of_other_fields(name):
    assert not is_named_like_a_key(name)


@pytest.mark.parametrize("text", KEYS)
def test_keys(text):
    assert holds_a_key(text)
    assert holds_a_key(f"http://host/{text}/v1", forms_alone=True)


@pytest.mark.parametrize("text", TEXTS)
def test_other_texts(text):
    assert not holds_a_key(text)


def test_a_long_random_run_is_a_key_but_for_addresses():
    run = "qN8ZkP2vT7xW4yR1cM6bJ9dL3fG5hS0a"
    assert holds_a_key(run)
    assert not holds_a_key(f"http://host/{run}/v1", forms_alone=True)
