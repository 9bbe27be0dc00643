"""How jobs are followed, whatever a cluster says about itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from palimpsest.cluster import (
    ask,
    follow,
    keeps_accounts,
    left_over,
    min_job_age,
    understand_cancelled,
)


def cluster(age: int | None = 300, accounts: bool = False):
    """Answers of a cluster's programs."""

    def answers(program: str, *arguments: str) -> str | None:
        if program == "sacct":
            return "" if accounts else None
        return None if age is None else f"Configuration\nMinJobAge               = {age} sec\n"

    return answers


def settings(command: str = "sacct", pause: int = 40) -> SimpleNamespace:
    return SimpleNamespace(status_command=command, init_seconds_before_status_checks=pause)


@pytest.mark.parametrize("command", ["sacct", "squeue"])
def test_with_an_accounting_database_the_users_choice_stands(command):
    for age in (None, 2, 300):
        chosen = settings(command)
        assert follow(chosen, "lab", cluster(age, accounts=True)) == []
        assert chosen == settings(command)


@pytest.mark.parametrize(("age", "pause"), [(300, 40), (181, 40), (120, 40), (90, 30), (2, 1)])
def test_without_one_squeue_is_asked_before_it_forgets(age, pause):
    chosen = settings()
    remarks = follow(chosen, None, cluster(age))
    assert chosen == settings("squeue", pause)
    # The executor goes back to sacct where three pauses are longer than the memory of squeue.
    assert age < 3 or 3 * chosen.init_seconds_before_status_checks <= age
    assert [f"after {age} s" in remark for remark in remarks] == [True] * (age <= 180)


def test_where_nothing_answers_the_user_is_told():
    chosen = settings()
    (remark,) = follow(chosen, None, cluster(None))
    assert "neither sacct nor scontrol" in remark
    assert chosen.status_command == "squeue"


def test_an_account_without_accounting_is_an_error_before_any_job():
    with pytest.raises(ValueError, match=r"compute\.slurm\.account is 'lab'.*allowed: null"):
        follow(settings(), "lab", cluster())


def test_a_job_that_somebody_cancelled_counts_as_cancelled():
    """As sacct says it; once the executor has been told, telling it again changes nothing."""
    said = {"1": "CANCELLED by 1000", "2": "RUNNING", "3": "CANCELLED", "4": "OUT_OF_MEMORY"}

    async def query_job_status(command, logger):
        return (said, 0.1) if command == "sacct" else (None, None)

    executor = SimpleNamespace(query_job_status=query_job_status)
    for _ in range(2):
        understand_cancelled(executor)
    states, seconds = asyncio.run(executor.query_job_status("sacct", None))
    assert states == said | {"1": "CANCELLED"}
    assert seconds == 0.1
    assert asyncio.run(executor.query_job_status("nothing", None)) == (None, None)
    assert executor.query_job_status.__wrapped__ is query_job_status


def test_programs_that_fail_or_hang_or_are_missing_say_nothing():
    assert ask("echo", "yes") == "yes\n"
    assert ask("false") is None
    assert ask("no-such-program-here") is None
    assert ask("sleep", "20", patience_s=0.1) is None


def test_a_cluster_is_read():
    assert min_job_age(cluster(300)) == 300
    assert min_job_age(lambda *command: "SlurmctldDebug = info\n") is None
    assert keeps_accounts(cluster(accounts=True))
    assert not keeps_accounts(cluster())


def test_jobs_that_an_earlier_run_left_in_the_folder_are_found(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    lines = f"""7|{tmp_path}|rule_probe_wildcards_a|b
8|{tmp_path}/other|rule_probe
9|{tmp_path}|(null)
10_[1-3]|{tmp_path}/link|rule_intervene
"""
    assert left_over(tmp_path, lambda *command: lines) == ["7", "10_[1-3]"]
    assert left_over(tmp_path, lambda *command: None) == []
