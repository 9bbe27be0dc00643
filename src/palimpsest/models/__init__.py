"""Loading language models: package GGUF, hub, local directory, from scratch."""
