# One cell of the sweep: trained (adapters, full), spoken and scored (baselines too). On a cluster a
# trained cell's three steps are one job, or those of several cells (`group-components` of the profile).
# `cell` counts cells at work: inside a Slurm job they run one after another, and the profile says so.
# Each is finished before the next begins (`priority`): a job that is lost takes one unfinished cell along.


rule train_cell:
    input:
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
        NEUTRAL,
    output:
        "<cell>/adapter/adapter.safetensors",
        "<cell>/adapter/adapter.json",
        "<cell>/adapter/training.json",
        "<cell>/adapter/curves.csv",
    log:
        "<results>/logs/train_cell/<axes>.log",
    benchmark:
        "<results>/benchmarks/train_cell/<axes>.tsv"
    group:
        group_of
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    threads: STUDY.runtime.threads
    resources:
        mem_mb=lambda wildcards, attempt: 2500 * MEMORY * min(attempt, 3),
        runtime=480,
        gpu=GPUS["train_cell"],
        cell=1,
    params:
        **stage_params("train_cell"),
        config=CONFIG,
        cell=CELL,
        sites=sites_of,
    shell:
        "exec python scripts/train_cell.py --config {params.config}"
        " --cell {params.cell} --log {log} --threads {threads}"


rule synthesise_cell:
    input:
        voice_of,
        "<results>/manifest.csv",
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
        "<results>/lexicon/lexicon.tsv",
    output:
        "<cell>/speech/speech.csv",
    log:
        "<results>/logs/synthesise_cell/<axes>.log",
    benchmark:
        "<results>/benchmarks/synthesise_cell/<axes>.tsv"
    priority: 1
    group:
        group_of
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=GPUS["synthesise_cell"],
        cell=1,
    params:
        **stage_params("synthesise_cell"),
        config=CONFIG,
        cell=CELL,
        sites=sites_of,
        made_with=before_cell,
    shell:
        "python scripts/synthesise_cell.py --config {params.config}"
        " --cell {params.cell} --log {log} --threads {threads}"


rule score_cell:
    input:
        speech_of,
        judges_of,
        "<results>/recogniser/model.safetensors",
        "<results>/manifest.csv",
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
    output:
        "<cell>/metrics.json",
        "<cell>/utterances.csv",
        "<cell>/provenance.json",
    log:
        "<results>/logs/score_cell/<axes>.log",
    benchmark:
        "<results>/benchmarks/score_cell/<axes>.tsv"
    priority: 2
    group:
        group_of
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=2000,
        runtime=120,
        cell=1,
    params:
        **stage_params("score_cell"),
        config=CONFIG,
        cell=CELL,
        sites=sites_of,
        made_with=before_cell,
    shell:
        "python scripts/score_cell.py --config {params.config}"
        " --cell {params.cell} --log {log} --threads {threads}"
