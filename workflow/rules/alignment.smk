# Pronunciations and phone times.


rule build_lexicon:
    input:
        "<results>/manifest.csv",
    output:
        "<results>/lexicon/lexicon.tsv",
        "<results>/lexicon/phones.json",
    log:
        "<results>/logs/build_lexicon.log",
    benchmark:
        "<results>/benchmarks/build_lexicon.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        **stage_params("build_lexicon"),
        config=CONFIG,
    shell:
        "python scripts/build_lexicon.py --config {params.config}"
        " --log {log} --threads {threads}"


# With `aligner: mfa` and `--sdm conda`, MFA's environment lends the program `mfa`; the stage itself
# stays with the interpreter of this workflow.
rule align:
    input:
        "<results>/manifest.csv",
        "<results>/lexicon/lexicon.tsv",
        "<results>/lexicon/phones.json",
    output:
        "<results>/alignment/alignment.csv",
        "<results>/alignment/summary.json",
    log:
        "<results>/logs/align.log",
    benchmark:
        "<results>/benchmarks/align.tsv"
    conda:
        "../../envs/mfa.yaml" if STUDY.alignment.aligner == "mfa" else "../../envs/eele.yaml"
    container:
        ALIGNER_CONTAINER
    envmodules:
        *ALIGNER_MODULES,
    threads: 8 if STUDY.alignment.aligner == "mfa" else 1
    resources:
        mem_mb=2500,
        runtime=480,
    params:
        **stage_params("align"),
        config=CONFIG,
    shell:
        "$EELE_PYTHON scripts/align.py --config {params.config}" " --log {log} --threads {threads}"
