import os
import re
import sys
from pathlib import Path

# The folder of this file, however the workflow was included.
ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=False)).parents[1]
sys.path.insert(0, str(ROOT / "src"))
# Not in params: a moved folder changes no number and reruns nothing. Jobs find the package also in
# an environment into which it was not installed.
os.environ.update(
    PALIMPSEST_SCRIPTS=str(ROOT / "scripts"),
    PYTHONPATH=os.pathsep.join(
        filter(None, [str(ROOT / "src"), os.getenv("PYTHONPATH")])
    ),
)

from snakemake.exceptions import WorkflowError

from palimpsest.cluster import BUNDLE, DEEPEST
from palimpsest.config import ConfigError, check, read_yaml
from palimpsest.engine.devices import ALLOCATOR
from palimpsest.grid import expand
from palimpsest.locks import claim
from palimpsest.mending import asked_again, put_aside, put_aside_before
from palimpsest.order import INTERVENTION, after, seconds

# Read by the C library when a job starts.
for name, value in ALLOCATOR.items():
    os.environ.setdefault(name, value)


def unusable(error):
    """What is wrong with the configuration, in the words that say it."""
    return WorkflowError(f"the configuration cannot be used\n{error}")


def readable(file):
    """Stop, with the place in the file, where it cannot be read: Snakemake would name none.

    What --configfile names is read by Snakemake before any of this.
    """
    try:
        read_yaml(file)
    except ConfigError as error:
        raise unusable(error) from None


if not workflow.overwrite_configfiles:
    if os.path.exists("config/config.yaml"):
        readable("config/config.yaml")

    configfile: "config/config.yaml"


CONFIG_FILE = next(iter(reversed(workflow.configfiles)), "config/config.yaml")


def checked_plan():
    """The plan of the checked configuration; problems stop before any job, in clear words."""
    try:
        for each in workflow.configfiles:
            read_yaml(os.path.relpath(each))
        file = os.path.relpath(CONFIG_FILE)
        settings, models = check(dict(config), file)
        return settings, expand(settings, models)
    except ConfigError as error:
        raise unusable(error) from None


# Open as long as the run goes on. Its jobs are part of it.
ALIVE = claim(Path(".snakemake")) if workflow.is_main_process else None
SETTINGS, PLAN = checked_plan()
PLAN.write()
if workflow.is_main_process:
    # While rules are read Snakemake does not know yet that it only plans.
    DRY = any(re.fullmatch(r"-\w*n\w*|--dry-?run", word) for word in sys.argv)
    put_aside(PLAN, move=not DRY)
MODELS = {model.id: model for model in PLAN.models.values()}
STATES = {key: state for key, state in PLAN.states.items() if state.intervention}
JOBS = {(job.study, job.state.id, job.batch): job for job in PLAN.jobs}
AFTER = after(PLAN)


wildcard_constraints:
    model="[A-Za-z0-9._-]+",
    state="[A-Za-z0-9._-]+",
    study="[a-z][a-z0-9_]*",
    batch=r"\d{3}",


def one_gpu_a_device():
    """With no limit given, the local scheduler would start a GPU job on every core."""
    # While rules are read the executor is not known yet; only cluster runs have a number of nodes.
    if not workflow.is_main_process or workflow.resource_settings.nodes is not None:
        return
    if SETTINGS.compute.gpu and "gpu" not in workflow.global_resources:
        from palimpsest.engine.devices import visible

        workflow.register_resource("gpu", max(1, len(visible())))


one_gpu_a_device()


def manifest_of(thing):
    """Path of the manifest: it carries the hash of all that decides the job's numbers."""
    return str(PLAN.manifest_path(thing.manifest))


def before(*states):
    """States and all that they were made of, each of which is read with them.

    Their names say what is in them: a state that was made again is the same state.
    """
    links = dict.fromkeys(link.output for state in states for link in state.chain)
    return [ancient(str(path)) for path in links]


def again(record):
    """What asks for a model or a state that was damaged; when it was asked says nothing."""
    return [ancient(str(path)) for path in asked_again(record)]


def plan_in_words():
    """What is to be done, printed when a run starts."""
    from palimpsest.plan import describe

    return describe(PLAN, SETTINGS)


def memory(wildcards, attempt):
    """Memory of a model job in MB; twice as much at the second attempt."""
    return SETTINGS.compute.memory_mb * attempt


def gpus(wildcards):
    """GPUs of a probe; a model behind an endpoint needs none here."""
    job = JOBS[wildcards.study, wildcards.state, wildcards.batch]
    return 0 if job.state.model.behind_endpoint else SETTINGS.compute.gpu


def runtime(wildcards, attempt):
    """Minutes of a model job; twice as many at the second attempt."""
    return SETTINGS.compute.runtime_minutes * attempt


def analysis_memory(wildcards, attempt):
    """Memory in MB of what needs no model; twice as much at the second attempt."""
    return SETTINGS.compute.analysis_memory_mb * attempt


def analysis_runtime(wildcards, attempt):
    """Minutes of what needs no model; twice as many at the second attempt."""
    return SETTINGS.compute.analysis_runtime_minutes * attempt


def bundled(wildcards):
    """Group of a probe job that is short: several share a submission, one after another.

    Those of states after as many interventions, so that none waits long for another's state; deeper
    chains than the profile has groups for share the last.
    """
    job = JOBS[wildcards.study, wildcards.state, wildcards.batch]
    if seconds(job) > SETTINGS.compute.short_minutes * 60:
        return None
    return f"short_{min(len(job.state.chain) - 1, DEEPEST)}"


def probe_runtime(wildcards, attempt):
    """Minutes of a probe job; a bundle of short ones asks for as many as a long one."""
    share = BUNDLE if bundled(wildcards) else 1
    return -(-runtime(wildcards, attempt) // share)


def slurm(gpu):
    """What jobs ask of a SLURM cluster beyond memory and time; only what the configuration says."""
    asked = SETTINGS.compute.slurm
    partition = (gpu and asked.gpu_partition) or asked.partition
    wanted = dict(slurm_partition=partition, slurm_account=asked.account, qos=asked.qos)
    if gpu:
        wanted["gpu_model"] = asked.gpu_model
    return {name: value for name, value in wanted.items() if value}


def model_job():
    """The same of a job that runs a model; its GPUs are all on one machine."""
    constraint = SETTINGS.compute.slurm.constraint
    wanted = slurm(SETTINGS.compute.gpu) | dict(nodes=1)
    return wanted | (dict(constraint=constraint) if constraint else {})


def follow_jobs():
    """On SLURM: ask for the status of jobs as this cluster answers, and do no work twice.

    Raises:
        WorkflowError: jobs of an earlier run go on, or an account is given where there are none.
    """
    if not hasattr(workflow.executor_settings, "status_command"):
        return
    import snakemake_executor_plugin_slurm

    from palimpsest.cluster import follow, left_over, understand_cancelled

    if jobs := left_over(Path.cwd()):
        raise WorkflowError(
            "jobs of an earlier run still work in this folder; wait for them (squeue --me), or "
            f"end them: scancel {' '.join(jobs)}"
        )
    try:
        understand_cancelled(snakemake_executor_plugin_slurm)
        remarks = follow(workflow.executor_settings, SETTINGS.compute.slurm.account)
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    for remark in remarks:
        print(f"SLURM: {remark}", file=sys.stderr)


def page_code():
    """Fingerprint of the code that builds pages."""
    from palimpsest.identity import code_fingerprint, digest, folder_hash

    return digest(
        folder_hash("reports"),
        *(
            code_fingerprint(f"probes.{s.probe}", ("figures.py",))
            for s in PLAN.studies.values()
        ),
    )
