rule prepare_model:
    input:
        lambda wildcards: again(MODELS[wildcards.model].output),
    output:
        "results/models/{model}/model.json",
    log:
        "results/logs/models/{model}.log",
    benchmark:
        "results/benchmarks/models/{model}.tsv"
    priority: lambda wildcards: AFTER.get(wildcards.model, 0)
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        **slurm(gpu=0),
        mem_mb=memory,
        runtime=runtime,
    params:
        manifest=lambda wildcards: manifest_of(MODELS[wildcards.model]),
    message:
        "Preparing model {wildcards.model}"
    shell:
        "python $PALIMPSEST_SCRIPTS/prepare_model.py --manifest {params.manifest}"
        " --output {output} 2> {log}"
