"""Embedded tasks with choices: a file for every family, with its tasks in ``TASKS``."""
