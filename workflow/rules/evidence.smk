# Models and states are plain inputs here although nothing reads them: Snakemake does not look at
# what follows a job that must run again, and ancient() then hides that later files are missing.
MADE = [str(made.output) for made in (*MODELS.values(), *STATES.values())]


rule analyse:
    input:
        lambda wildcards: [
            str(job.output) for job in PLAN.studies[wildcards.study].jobs
        ],
        lambda wildcards: sorted(
            {
                str(state.output)
                for job in PLAN.studies[wildcards.study].jobs
                for state in job.states
            }
        ),
    output:
        statistics="results/statistics/{study}.parquet",
        claims="results/statistics/{study}.json",
    log:
        "results/logs/statistics/{study}.log",
    benchmark:
        "results/benchmarks/statistics/{study}.tsv"
    group:
        "evidence"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **slurm(gpu=0),
        mem_mb=analysis_memory,
        runtime=analysis_runtime,
        lanes=1,
    params:
        manifest=lambda wildcards: manifest_of(PLAN.studies[wildcards.study]),
        damaged=lambda wildcards: put_aside_before(wildcards.study),
    message:
        "Statistics and claims of {wildcards.study}"
    shell:
        "python $PALIMPSEST_SCRIPTS/analyse.py --manifest {params.manifest}"
        " --output {output.statistics} 2> {log}"


rule gather:
    input:
        [str(job.output) for job in PLAN.jobs],
        [str(study.statistics) for study in PLAN.studies.values()],
        MADE,
    output:
        "results/palimpsest.duckdb",
    log:
        "results/logs/gather.log",
    benchmark:
        "results/benchmarks/gather.tsv"
    group:
        "evidence"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **slurm(gpu=0),
        mem_mb=analysis_memory,
        runtime=analysis_runtime,
        lanes=1,
    params:
        manifest=manifest_of(PLAN),
        damaged=put_aside_before(),
    message:
        "Gathering the evidence into {output}"
    shell:
        "python $PALIMPSEST_SCRIPTS/gather.py --manifest {params.manifest} --output {output} 2> {log}"
