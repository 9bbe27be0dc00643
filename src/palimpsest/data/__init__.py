"""Data sources: one file a source, each returns a frame with a documented schema."""
