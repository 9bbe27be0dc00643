rule intervene:
    input:
        lambda wildcards: before(STATES[wildcards.state].parent),
        lambda wildcards: again(STATES[wildcards.state].output),
    output:
        "results/states/{state}/state.json",
    log:
        "results/logs/states/{state}.log",
    benchmark:
        "results/benchmarks/states/{state}.tsv"
    priority: lambda wildcards: INTERVENTION + AFTER[wildcards.state]
    conda:
        "../../environment.yml"
    threads: SETTINGS.compute.threads
    resources:
        **model_job(),
        mem_mb=memory,
        runtime=runtime,
        gpu=SETTINGS.compute.gpu,
    params:
        manifest=lambda wildcards: manifest_of(STATES[wildcards.state]),
    message:
        "Changing a model: {wildcards.state}"
    shell:
        "python $PALIMPSEST_SCRIPTS/intervene.py --manifest {params.manifest} --output {output}"
        " --threads {threads} --gpu {resources.gpu} 2> {log}"
