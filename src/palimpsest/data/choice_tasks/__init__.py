"""Tasks with choices: embedded ones, those of benchmarks by name, and the user's own."""
