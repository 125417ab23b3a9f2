# Recognition of emotions, speakers and phones: encoders of speech, testbeds, and one recogniser per encoder,
# method, testbed, fold and seed. Encoders serve the judges of other studies too.


rule prepare_encoder:
    input:
        "<results>/manifest.csv",
    output:
        "<results>/encoders/{encoder}/model.safetensors",
        "<results>/encoders/{encoder}/model.json",
        "<results>/encoders/{encoder}/utterances.txt",
        "<results>/encoders/{encoder}/training.json",
        "<results>/encoders/{encoder}/curves.csv",
    log:
        "<results>/logs/prepare_encoder/{encoder}.log",
    benchmark:
        "<results>/benchmarks/prepare_encoder/{encoder}.tsv"
    priority: 3  # as the other trainings of several cores
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    threads: STUDY.runtime.pretrain_threads
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * min(attempt, 3),
        runtime=480,
        gpu=GPUS["prepare_encoder"],
    params:
        **stage_params("prepare_encoder"),
        config=CONFIG,
        encoder=encoder_params,
    shell:
        "exec python scripts/prepare_encoder.py --config {params.config}"
        " --encoder {wildcards.encoder} --log {log} --threads {threads}"


# What folds there are is known when the corpora have been read.
checkpoint divide_testbed:
    input:
        "<results>/manifest.csv",
    output:
        "<results>/testbeds/{testbed}/folds.csv",
    log:
        "<results>/logs/divide_testbed/{testbed}.log",
    benchmark:
        "<results>/benchmarks/divide_testbed/{testbed}.tsv"
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
        **stage_params("divide_testbed"),
        config=CONFIG,
        testbed=testbed_params,
    shell:
        "python scripts/divide_testbed.py --config {params.config}"
        " --testbed {wildcards.testbed} --log {log} --threads {threads}"


rule recognise:
    input:
        "<results>/manifest.csv",
        "<results>/testbeds/{testbed}/folds.csv",
        "<results>/encoders/{encoder}/model.safetensors",
        "<results>/encoders/{encoder}/model.json",
        lexicon_of,
    output:
        "<recogniser>/scores.json",
        "<recogniser>/predictions.csv",
        "<recogniser>/training.json",
        "<recogniser>/curves.csv",
        "<recogniser>/adapter.safetensors",
        "<recogniser>/adapter.json",
        "<recogniser>/utterances.txt",
    log:
        "<results>/logs/recognise/<recogniser_axes>.log",
    benchmark:
        "<results>/benchmarks/recognise/<recogniser_axes>.tsv"
    group:
        group_of_recogniser
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    threads: STUDY.runtime.threads
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * min(attempt, 3),
        runtime=480,
        gpu=GPUS["recognise"],
        cell=1,
    params:
        **{**stage_params("recognise"), "before": before_recogniser},
        config=CONFIG,
        recogniser=RECOGNISER,
    shell:
        "exec python scripts/recognise.py --config {params.config}"
        " --recognition {params.recogniser} --log {log} --threads {threads}"
