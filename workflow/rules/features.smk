# Mel, pitch, energy and durations, scattered over jobs of one core.


rule extract_features:
    input:
        "<results>/manifest.csv",
        "<results>/alignment/alignment.csv",
        "<results>/lexicon/phones.json",
    output:
        "<results>/features/shard~{shard}/index.csv",
    log:
        "<results>/logs/extract_features/{shard}.log",
    benchmark:
        "<results>/benchmarks/extract_features/{shard}.tsv"
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
        **stage_params("extract_features"),
        config=CONFIG,
    shell:
        "python scripts/extract_features.py --config {params.config}"
        " --shard {wildcards.shard} --log {log} --threads {threads}"


rule index_features:
    input:
        expand("<results>/features/shard~{shard}/index.csv", shard=range(STUDY.features.shards)),
    output:
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
    log:
        "<results>/logs/index_features.log",
    benchmark:
        "<results>/benchmarks/index_features.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        **stage_params("index_features"),
        config=CONFIG,
    shell:
        "python scripts/index_features.py --config {params.config}"
        " --log {log} --threads {threads}"
