include: "workflow/Snakefile"


# An included file sets no default target, so the root names one; `all` is defined there.
rule report_all:
    default_target: True
    input:
        rules.all.input,
