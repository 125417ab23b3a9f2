# The models every cell leans on: the neutral voice, the vocoder (where the study trains one), the judges,
# the phone recogniser.
# What takes several cores goes before what takes one (`priority`): beside a sweep of cells, all of which wait for
# it or whose scores do, the cores would hardly be free at once.
# `exec`: the shell makes way for the training, so that a scheduler's SIGTERM reaches it and it can save.


rule pretrain:
    input:
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
        "<results>/lexicon/phones.json",
    output:
        NEUTRAL,
        "<results>/neutral/training.json",
        "<results>/neutral/curves.csv",
    log:
        "<results>/logs/pretrain.log",
    benchmark:
        "<results>/benchmarks/pretrain.tsv"
    priority: 3
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    threads: STUDY.runtime.pretrain_threads
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * MEMORY * min(attempt, 3),
        runtime=1440,
        gpu=GPUS["pretrain"],
    params:
        **stage_params("pretrain"),
        config=CONFIG,
    shell:
        "exec python scripts/pretrain.py --config {params.config}"
        " --log {log} --threads {threads}"


rule train_vocoder:
    input:
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
    output:
        "<results>/vocoder/model.safetensors",
        "<results>/vocoder/model.json",
        "<results>/vocoder/critic.safetensors",
        "<results>/vocoder/training.json",
        "<results>/vocoder/curves.csv",
    log:
        "<results>/logs/train_vocoder.log",
    benchmark:
        "<results>/benchmarks/train_vocoder.tsv"
    priority: 3
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    threads: STUDY.runtime.pretrain_threads
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * MEMORY * min(attempt, 3),
        runtime=1440,
        gpu=GPUS["train_vocoder"],
    params:
        **stage_params("train_vocoder"),
        config=CONFIG,
    shell:
        "exec python scripts/train_vocoder.py --config {params.config}"
        " --log {log} --threads {threads}"


rule train_judge:
    input:
        "<results>/manifest.csv",
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
        encoder_of_judge,
    output:
        directory("<results>/judges/{judge}"),
    log:
        "<results>/logs/train_judge/{judge}.log",
    benchmark:
        "<results>/benchmarks/train_judge/{judge}.tsv"
    priority: 1
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    threads: STUDY.runtime.threads
    resources:
        mem_mb=judge_memory,
        runtime=240,
        gpu=judge_gpus,
    params:
        **stage_params("train_judge"),
        config=CONFIG,
        judge=judge_params,
    shell:
        "exec python scripts/train_judge.py --config {params.config}"
        " --judge {wildcards.judge} --log {log} --threads {threads}"


rule train_recogniser:
    input:
        "<results>/features/index.csv",
        "<results>/features/statistics.json",
        "<results>/lexicon/phones.json",
    output:
        "<results>/recogniser/model.safetensors",
        "<results>/recogniser/model.json",
    log:
        "<results>/logs/train_recogniser.log",
    benchmark:
        "<results>/benchmarks/train_recogniser.tsv"
    priority: 1
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    threads: STUDY.runtime.threads
    resources:
        mem_mb=2000,
        runtime=480,
        gpu=GPUS["train_recogniser"],
    params:
        **stage_params("train_recogniser"),
        config=CONFIG,
    shell:
        "python scripts/train_recogniser.py --config {params.config}"
        " --log {log} --threads {threads}"
