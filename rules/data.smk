# From seed tasks and paid replies to clean rows.
rule corpus:
    output:
        "data/corpus/{corpus}.txt",
    log:
        "logs/corpus-{corpus}.log",
    wildcard_constraints:
        corpus=registry.names("corpus"),
    params:
        settings=registry.value("corpus.{corpus}"),
    shell:
        stage("belle corpus {output} {params.settings}")


rule evalset:
    output:
        in_git("data/eval/{evalset}.jsonl"),
    log:
        "logs/evalset-{evalset}.log",
    wildcard_constraints:
        evalset=registry.names("evalset"),
    params:
        settings=registry.value("evalset.{evalset}"),
    shell:
        stage("belle evalset {output} {params.settings}")


rule generate:
    input:
        seeds=registry.path("{path}", path="datasets.{dataset}.seeds"),
        prompt=checkout.ours("src/belle/prompts/self_instruct.txt"),
    output:
        rows="data/raw/{dataset}.jsonl",
        report="data/raw/{dataset}.report.json",
    log:
        "logs/generate-{dataset}.log",
    wildcard_constraints:
        dataset=registry.names("datasets", kind="generated"),
    resources:
        api=1,
        api_key=needs.generate_api_key,
    params:
        settings=registry.settings("generate", "datasets.{dataset}"),
    shell:
        stage(
            "belle generate {input.seeds:q} {input.prompt} {output.rows} {output.report} {params.settings}"
        )


rule fetch_dataset:
    output:
        rows="data/raw/{dataset}.jsonl",
        report="data/raw/{dataset}.report.json",
    log:
        "logs/fetch_dataset-{dataset}.log",
    wildcard_constraints:
        dataset=registry.names("datasets", kind="published"),
    resources:
        hub=registry.plain("datasets.{dataset}.hub"),
        hub_kind="dataset",
        disk_gb=4,
    params:
        hub=registry.value("datasets.{dataset}.hub"),
        revision=registry.value("datasets.{dataset}.revision"),
        split=registry.value("datasets.{dataset}.split"),
        format=registry.value("datasets.{dataset}.format"),
        licence=registry.value("datasets.{dataset}.licence"),
    shell:
        stage(
            "belle fetch_dataset {params.hub} {output.rows} {output.report} {params.format} {params.licence}"
            " --revision {params.revision} --split {params.split}"
        )


rule import_dataset:
    input:
        path=registry.path("{path}", path="datasets.{dataset}.path"),
        categories=registry.path("{path}", path="datasets.{dataset}.categories"),
    output:
        rows="data/raw/{dataset}.jsonl",
        report="data/raw/{dataset}.report.json",
    log:
        "logs/import_dataset-{dataset}.log",
    wildcard_constraints:
        dataset=registry.names("datasets", kind="local"),
    params:
        format=registry.value("datasets.{dataset}.format"),
        licence=registry.value("datasets.{dataset}.licence"),
        categories=registry.value("datasets.{dataset}.categories"),
    shell:
        stage(
            "belle import_dataset {output.rows} {output.report} {params.format} {params.licence}"
            " {input.path:q} {input.categories:q}"
        )


rule clean:
    input:
        "data/raw/{dataset}.jsonl",
    output:
        rows="data/clean/{dataset}.jsonl",
        report=metric("data/clean/{dataset}.report.json"),
    log:
        "logs/clean-{dataset}.log",
    params:
        settings=registry.settings("clean", "datasets.{dataset}"),
    shell:
        stage("belle clean {input} {output.rows} {output.report} {params.settings}")
