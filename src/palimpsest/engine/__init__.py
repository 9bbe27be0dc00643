"""The engine: scoring, generation, training. Knows no probe and no intervention."""
