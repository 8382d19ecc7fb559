# From seed tasks and paid replies to clean rows.
rule corpus:
    output:
        "data/corpus/{corpus}.txt",
    params:
        settings=registry.value("corpus.{corpus}"),
    wildcard_constraints:
        corpus=registry.names("corpus"),
    log:
        "logs/corpus-{corpus}.log",
    shell:
        stage("belle corpus {output} {params.settings}")


rule evalset:
    output:
        in_git("data/eval/{evalset}.jsonl"),
    params:
        settings=registry.value("evalset.{evalset}"),
    wildcard_constraints:
        evalset=registry.names("evalset"),
    log:
        "logs/evalset-{evalset}.log",
    shell:
        stage("belle evalset {output} {params.settings}")


rule generate:
    input:
        seeds=registry.path("{path}", path="datasets.{dataset}.seeds"),
        prompt="src/belle/prompts/self_instruct.txt",
    output:
        rows="data/raw/{dataset}.jsonl",
        report="data/raw/{dataset}.report.json",
    params:
        settings=registry.settings("generate", "datasets.{dataset}"),
    wildcard_constraints:
        dataset=registry.names("datasets", kind="generated"),
    resources:
        api_key=needs.generate_api_key,
    log:
        "logs/generate-{dataset}.log",
    shell:
        stage(
            "belle generate {input.seeds:q} {input.prompt} {output.rows} {output.report} {params.settings}"
        )


rule fetch_dataset:
    output:
        "data/raw/{dataset}.jsonl",
    params:
        hub=registry.value("datasets.{dataset}.hub"),
        revision=registry.value("datasets.{dataset}.revision"),
        split=registry.value("datasets.{dataset}.split"),
    wildcard_constraints:
        dataset=registry.names("datasets", kind="published"),
    resources:
        hub=registry.plain("datasets.{dataset}.hub"),
        hub_kind="dataset",
        disk_gb=4,
    log:
        "logs/fetch_dataset-{dataset}.log",
    shell:
        stage(
            "belle fetch_dataset {params.hub} {output} --revision {params.revision} --split {params.split}"
        )


rule clean:
    input:
        "data/raw/{dataset}.jsonl",
    output:
        rows="data/clean/{dataset}.jsonl",
        report=metric("data/clean/{dataset}.report.json"),
    params:
        settings=registry.settings("clean", "datasets.{dataset}"),
    log:
        "logs/clean-{dataset}.log",
    shell:
        stage("belle clean {input} {output.rows} {output.report} {params.settings}")
