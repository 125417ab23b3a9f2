# Recordings: found, cleaned, united and split.


rule collect_corpus:
    output:
        "<results>/corpora/{corpus}/manifest.csv",
        "<results>/corpora/{corpus}/rejected_listing.csv",
        "<results>/corpora/{corpus}/source.json",
    log:
        "<results>/logs/collect_corpus/{corpus}.log",
    benchmark:
        "<results>/benchmarks/collect_corpus/{corpus}.tsv"
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
        **stage_params("collect_corpus"),
        config=CONFIG,
        corpus=corpus_params,
    shell:
        "python scripts/collect_corpus.py --config {params.config}"
        " --corpus {wildcards.corpus} --log {log} --threads {threads}"


rule clean_corpus:
    input:
        "<results>/corpora/{corpus}/manifest.csv",
        "<results>/corpora/{corpus}/rejected_listing.csv",
    output:
        "<results>/corpora/{corpus}/clean.csv",
        "<results>/corpora/{corpus}/rejected.csv",
        "<results>/corpora/{corpus}/summary.json",
    log:
        "<results>/logs/clean_corpus/{corpus}.log",
    benchmark:
        "<results>/benchmarks/clean_corpus/{corpus}.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=1500,
        runtime=240,
    params:
        **eele_workflow.stage_parameters(STUDY, "clean_corpus"),
        config=CONFIG,
        corpus=corpus_params,
    shell:
        "python scripts/clean_corpus.py --config {params.config}"
        " --corpus {wildcards.corpus} --log {log} --threads {threads}"


rule assemble_manifest:
    input:
        expand("<results>/corpora/{corpus}/clean.csv", corpus=CORPORA),
        expand("<results>/corpora/{corpus}/rejected.csv", corpus=CORPORA),
    output:
        "<results>/manifest.csv",
        "<results>/rejected.csv",
    log:
        "<results>/logs/assemble_manifest.log",
    benchmark:
        "<results>/benchmarks/assemble_manifest.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        **stage_params("assemble_manifest"),
        config=CONFIG,
    shell:
        "python scripts/assemble_manifest.py --config {params.config}"
        " --log {log} --threads {threads}"
