# From corpora of emotional speech to tables, figures and a page: `snakemake` runs the study of
# config/config.yaml, `snakemake --configfile config/studies/X.yaml` any other.
from snakemake.utils import min_version

min_version("9.27")

# A config file given on the command line is the whole study, on top of the package's defaults.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/corpora.smk"
include: "workflow/rules/alignment.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/cells.smk"
include: "workflow/rules/combining.smk"
include: "workflow/rules/recognition.smk"


if STUDY.recognition is None:

    include: "workflow/rules/reporting.smk"

    REPORT = [rules.make_page.output, rules.make_tables.output, rules.make_figures.output]

else:

    include: "workflow/rules/recognition_reporting.smk"

    REPORT = [
        rules.make_recognition_page.output,
        rules.make_recognition_tables.output,
        rules.make_recognition_figures.output,
    ]


rule all:
    default_target: True
    input:
        REPORT,
