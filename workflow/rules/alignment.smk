# Pronunciations and phone times; the latter scattered over jobs by speaker.


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


# With `aligner: mfa` and `--sdm conda`, MFA's environment lends the program `mfa` to these two rules; the
# stages themselves stay with the interpreter of this workflow.
ALIGNER_ENVIRONMENT = "mfa" if STUDY.alignment.aligner == "mfa" else "eele"
ALIGNER_MEMORY = 2 if STUDY.alignment.aligner == "mfa" else 1


rule train_aligner:
    input:
        "<results>/manifest.csv",
        "<results>/lexicon/lexicon.tsv",
        "<results>/lexicon/phones.json",
    output:
        "<results>/alignment/models/models.json",
    log:
        "<results>/logs/train_aligner.log",
    benchmark:
        "<results>/benchmarks/train_aligner.tsv"
    conda:
        f"../../envs/{ALIGNER_ENVIRONMENT}.yaml"
    container:
        ALIGNER_CONTAINER
    envmodules:
        *ALIGNER_MODULES,
    threads: 8 if (STUDY.alignment.aligner, STUDY.alignment.mfa.mode) == ("mfa", "train") else 1
    resources:
        mem_mb=lambda wildcards, attempt: 2500 * ALIGNER_MEMORY * attempt,
        runtime=lambda wildcards, attempt: 480 * attempt,
    params:
        **stage_params("train_aligner"),
        config=CONFIG,
    shell:
        "$EELE_PYTHON scripts/train_aligner.py --config {params.config}"
        " --log {log} --threads {threads}"


rule align:
    input:
        "<results>/manifest.csv",
        "<results>/lexicon/lexicon.tsv",
        "<results>/lexicon/phones.json",
        "<results>/alignment/models/models.json",
    output:
        "<results>/alignment/shard~{shard}/alignment.csv",
    log:
        "<results>/logs/align/{shard}.log",
    benchmark:
        "<results>/benchmarks/align/{shard}.tsv"
    conda:
        f"../../envs/{ALIGNER_ENVIRONMENT}.yaml"
    container:
        ALIGNER_CONTAINER
    envmodules:
        *ALIGNER_MODULES,
    threads: 4 if STUDY.alignment.aligner == "mfa" else 1
    resources:
        mem_mb=lambda wildcards, attempt: 2500 * ALIGNER_MEMORY * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        **stage_params("align"),
        config=CONFIG,
    shell:
        "$EELE_PYTHON scripts/align.py --config {params.config}"
        " --alignment_shard {wildcards.shard} --log {log} --threads {threads}"


rule index_alignment:
    input:
        "<results>/manifest.csv",
        "<results>/alignment/models/models.json",
        expand(
            "<results>/alignment/shard~{shard}/alignment.csv", shard=range(STUDY.alignment.shards)
        ),
    output:
        "<results>/alignment/alignment.csv",
        "<results>/alignment/summary.json",
    log:
        "<results>/logs/index_alignment.log",
    benchmark:
        "<results>/benchmarks/index_alignment.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=lambda wildcards, attempt: 2500 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        **stage_params("index_alignment"),
        config=CONFIG,
    shell:
        "python scripts/index_alignment.py --config {params.config}"
        " --log {log} --threads {threads}"
