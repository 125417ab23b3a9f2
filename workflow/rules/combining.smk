# Adapters plugged together: the line between two cells, or cells at several intensities. Nothing without a
# section `combining`.


rule combine:
    input:
        adapters_of,
        voices(),
        judges_of,
        "<results>/recogniser/model.safetensors",
        "<results>/manifest.csv",
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
        "<results>/lexicon/lexicon.tsv",
    output:
        "<results>/combining/{mixture}/points.csv",
        "<results>/combining/{mixture}/utterances.csv",
        "<results>/combining/{mixture}/provenance.json",
    log:
        "<results>/logs/combine/{mixture}.log",
    benchmark:
        "<results>/benchmarks/combine/{mixture}.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=3000 * MEMORY,
        runtime=480,
        gpu=GPUS["combine"],
    params:
        **stage_params("combine"),
        config=CONFIG,
        mixture=mixture_params,
        made_with=before_mixture,
    shell:
        "exec python scripts/combine.py --config {params.config}"
        " --mixture {wildcards.mixture} --log {log} --threads {threads}"
