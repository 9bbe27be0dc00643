rule intervene:
    input:
        # Its name says what is in it: a parent that was made again is the same parent.
        lambda wildcards: ancient(str(STATES[wildcards.state].parent.output)),
    output:
        "results/states/{state}/state.json",
    log:
        "results/logs/states/{state}.log",
    benchmark:
        "results/benchmarks/states/{state}.tsv"
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
