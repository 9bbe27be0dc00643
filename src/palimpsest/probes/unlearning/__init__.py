"""Has a model forgotten, and is it otherwise what it was? Judged by models that never knew."""
