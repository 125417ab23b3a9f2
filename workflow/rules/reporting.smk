# Tables, figures and the page: of the whole sweep. Light enough for where Snakemake itself runs.


localrules:
    make_tables,
    make_figures,
    make_page,


rule make_tables:
    input:
        cells("metrics.json"),
        cells("utterances.csv"),
        cells("adapter/training.json", trained=True),
        [f"{RESULTS}/combining/{mixture}/points.csv" for mixture in MIXTURES],
        [f"{RESULTS}/corpora/{corpus}/source.json" for corpus in CORPORA],
        "<results>/manifest.csv",
        "<results>/neutral/training.json",
    output:
        "<results>/tables/cells.csv",
        "<results>/tables/scheme_by_emotion.csv",
        "<results>/tables/rank.csv",
        "<results>/tables/methods.csv",
        "<results>/tables/findings.csv",
        "<results>/tables/costs.csv",
        "<results>/tables/judges.csv",
        "<results>/tables/agreement.csv",
        "<results>/tables/comparisons.csv",
        "<results>/tables/combining.csv",
        "<results>/tables/tasks.csv",
    log:
        "<results>/logs/make_tables.log",
    benchmark:
        "<results>/benchmarks/make_tables.tsv"
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
        version=6,
        study=IDENTITY,
    shell:
        "python scripts/make_tables.py --config {params.config}" " --log {log} --threads {threads}"


rule make_figures:
    input:
        material(),
        rules.make_tables.output,
        cells("metrics.json"),
        cells("speech/speech.csv"),
        cells("adapter/curves.csv", trained=True),
    output:
        directory("<results>/figures"),
    log:
        "<results>/logs/make_figures.log",
    benchmark:
        "<results>/benchmarks/make_figures.tsv"
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
        version=5,
        study=IDENTITY,
    shell:
        "python scripts/make_figures.py --config {params.config}"
        " --log {log} --threads {threads}"


rule make_page:
    input:
        material(),
        rules.make_tables.output,
        rules.make_figures.output,
        cells("provenance.json"),
        cells("speech/speech.csv"),
    output:
        "<results>/report/index.html",
        "<results>/provenance.json",
    log:
        "<results>/logs/make_page.log",
    benchmark:
        "<results>/benchmarks/make_page.tsv"
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
        version=5,
        study=IDENTITY,
    shell:
        "python scripts/make_page.py --config {params.config}" " --log {log} --threads {threads}"
