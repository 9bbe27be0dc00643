"""Which of the jobs that could run is started first: the one with the most work behind it.

The rank of a job is its own time and the longest time of what can only follow it (the upward rank
of HEFT; Topcuoglu, Hariri & Wu 2002, IEEE Trans. Parallel Distrib. Syst. 13, 260), so that no core
is left alone at the end with a chain of jobs that could have begun before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from palimpsest.manifests import Plan, ProbeJob

#: What an intervention is taken for in seconds; probes have estimates of their own.
INTERVENTION = 30.0


def seconds(job: ProbeJob) -> float:
    """Expected time of a probe's job, whose cells are asked one after another."""
    return sum(cell.cost for cell in job.cells)


def after(plan: Plan) -> dict[str, float]:
    """State -> seconds of the longest chain of jobs that waits for it; base models are states."""
    found = dict.fromkeys(plan.states, 0.0)
    for job in plan.jobs:
        for state in job.states:
            found[state.id] = max(found[state.id], seconds(job))
    for state in sorted(plan.states.values(), key=lambda state: -len(state.chain)):
        if state.parent:
            waits = INTERVENTION + found[state.id]
            found[state.parent.id] = max(found[state.parent.id], waits)
    return found
