"""Models behind an OpenAI-compatible server: requests, their cache, and what they cost."""
