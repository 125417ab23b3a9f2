# Tables, figures and the page of a study of recognition, in the place of those of a study of synthesis.


localrules:
    make_recognition_tables,
    make_recognition_figures,
    make_recognition_page,


rule make_recognition_tables:
    input:
        expand("<results>/testbeds/{testbed}/folds.csv", testbed=TESTBEDS),
        of_encoders("model.json", "training.json", "curves.csv"),
        of_recognisers("predictions.csv", "scores.json", "training.json"),
    output:
        "<results>/tables/recognition.csv",
        "<results>/tables/recognition_folds.csv",
        "<results>/tables/tasks.csv",
    log:
        "<results>/logs/make_recognition_tables.log",
    benchmark:
        "<results>/benchmarks/make_recognition_tables.tsv"
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
        config=CONFIG,
        version=4,
        study=IDENTITY,
    shell:
        "python scripts/make_recognition_tables.py --config {params.config}"
        " --log {log} --threads {threads}"


rule make_recognition_figures:
    input:
        rules.make_recognition_tables.output,
        of_encoders("model.json", "training.json", "curves.csv"),
        of_recognisers("curves.csv"),
    output:
        directory("<results>/figures"),
    log:
        "<results>/logs/make_recognition_figures.log",
    benchmark:
        "<results>/benchmarks/make_recognition_figures.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=CONFIG,
        version=2,
        study=IDENTITY,
    shell:
        "python scripts/make_recognition_figures.py --config {params.config}"
        " --log {log} --threads {threads}"


rule make_recognition_page:
    input:
        "<results>/manifest.csv",
        "<results>/rejected.csv",
        expand("<results>/corpora/{corpus}/source.json", corpus=CORPORA),
        expand("<results>/testbeds/{testbed}/folds.csv", testbed=TESTBEDS),
        rules.make_recognition_tables.output,
        rules.make_recognition_figures.output,
    output:
        "<results>/report/index.html",
        "<results>/provenance.json",
    log:
        "<results>/logs/make_recognition_page.log",
    benchmark:
        "<results>/benchmarks/make_recognition_page.tsv"
    conda:
        "../../envs/eele.yaml"
    container:
        CONTAINER
    envmodules:
        *MODULES,
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        config=CONFIG,
        version=3,
        study=IDENTITY,
    shell:
        "python scripts/make_recognition_page.py --config {params.config}"
        " --log {log} --threads {threads}"
