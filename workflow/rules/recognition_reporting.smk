# Tables, figures and the page of a study of recognition, in the place of those of a study of synthesis.


localrules:
    make_recognition_tables,
    make_recognition_figures,
    make_recognition_page,


def recognisers(*names):
    """These files of every recogniser of the study, once its testbeds are divided."""

    def asked(wildcards):
        folders = {
            testbed: Path(checkpoints.divide_testbed.get(testbed=testbed).output[0]).parent
            for testbed in TESTBEDS
        }
        folds = {testbed: fold_names(folder) for testbed, folder in folders.items()}
        return [
            f"{RESULTS}/recognition/{cell.path}/{name}"
            for cell in recognition_sweep(STUDY, folds)
            for name in names
        ]

    return asked


ENCODERS = [
    f"{RESULTS}/encoders/{name}/{file}"
    for name in STUDY.recognition.encoders
    for file in ("model.json", "training.json", "curves.csv")
]
FOLDS = [f"{RESULTS}/testbeds/{testbed}/folds.csv" for testbed in TESTBEDS]


rule make_recognition_tables:
    input:
        FOLDS,
        ENCODERS,
        recognisers("predictions.csv", "scores.json", "training.json"),
    output:
        "<results>/tables/recognition.csv",
        "<results>/tables/recognition_folds.csv",
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
        version=1,
        study=IDENTITY,
    shell:
        "python scripts/make_recognition_tables.py --config {params.config}"
        " --log {log} --threads {threads}"


rule make_recognition_figures:
    input:
        rules.make_recognition_tables.output,
        ENCODERS,
        recognisers("curves.csv"),
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
        version=1,
        study=IDENTITY,
    shell:
        "python scripts/make_recognition_figures.py --config {params.config}"
        " --log {log} --threads {threads}"


rule make_recognition_page:
    input:
        "<results>/manifest.csv",
        "<results>/rejected.csv",
        expand("<results>/corpora/{corpus}/source.json", corpus=CORPORA),
        FOLDS,
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
        version=1,
        study=IDENTITY,
    shell:
        "python scripts/make_recognition_page.py --config {params.config}"
        " --log {log} --threads {threads}"
