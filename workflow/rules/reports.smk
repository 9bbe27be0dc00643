rule report_study:
    input:
        "results/palimpsest.duckdb",
    output:
        report(
            "reports/{study}.html",
            category="Studies",
            labels={"study": "{study}"},
            caption="../report/study.rst",
        ),
    log:
        "results/logs/reports/{study}.log",
    benchmark:
        "results/benchmarks/reports/{study}.tsv"
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
        code=page_code(),
    message:
        "Page of {wildcards.study}"
    shell:
        "python $PALIMPSEST_SCRIPTS/report_study.py --database {input} --study {wildcards.study}"
        " --output {output} 2> {log}"


rule report_index:
    input:
        database="results/palimpsest.duckdb",
        pages=[str(study.page) for study in PLAN.studies.values()],
    output:
        report(
            "reports/index.html",
            category="Overview",
            labels={"study": "all"},
            caption="../report/index.rst",
        ),
    log:
        "results/logs/reports/index.log",
    benchmark:
        "results/benchmarks/reports/index.tsv"
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
        code=page_code(),
    message:
        "Overview of all studies"
    shell:
        "python $PALIMPSEST_SCRIPTS/report_index.py --database {input.database} --output {output}"
        " 2> {log}"
