# Contents. Each rule is one stage: `belle STAGE --help` says what it does, params.yaml holds its settings.
include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/weights.smk"
include: "rules/train.smk"
include: "rules/quantize.smk"
include: "rules/evaluate.smk"
include: "rules/align.smk"


# Every kind of set, as the offline teacher makes it: `snakemake sets`.
rule sets:
    input:
        expand("data/clean/{dataset}.jsonl", dataset=params.offline_sets()),
        expand(
            "data/categorised/{pair[0]}/{pair[1]}.jsonl",
            pair=params.offline_categories(),
        ),


rule all:
    default_target: True
    input:
        expand("results/tables/{table}.md", table=params.default_tables),
        params.default_artifacts(),
