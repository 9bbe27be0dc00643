rule probe:
    input:
        lambda wildcards: before(
            *JOBS[wildcards.study, wildcards.state, wildcards.batch].states
        ),
    output:
        shard="results/observations/{study}/{state}/{batch}.parquet",
        facts="results/observations/{study}/{state}/{batch}.json",
    log:
        "results/logs/observations/{study}/{state}/{batch}.log",
    benchmark:
        "results/benchmarks/observations/{study}/{state}/{batch}.tsv"
    priority: lambda wildcards: seconds(JOBS[wildcards.study, wildcards.state, wildcards.batch])
    group:
        bundled
    conda:
        "../../environment.yml"
    threads: SETTINGS.compute.threads
    resources:
        **model_job(),
        mem_mb=memory,
        runtime=probe_runtime,
        gpu=gpus,
        # All lanes of a submission: those that share it run one after another.
        lanes=BUNDLE,
    params:
        manifest=lambda wildcards: manifest_of(
            JOBS[wildcards.study, wildcards.state, wildcards.batch]
        ),
    message:
        "Probing {wildcards.state} for {wildcards.study}"
    shell:
        "python $PALIMPSEST_SCRIPTS/probe.py --manifest {params.manifest} --output {output.shard}"
        " --threads {threads} --gpu {resources.gpu} 2> {log}"
