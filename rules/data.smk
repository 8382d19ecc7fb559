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
        "data/raw/{dataset}.jsonl",
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
    log:
        "logs/clean-{dataset}.log",
    params:
        settings=registry.settings("clean", "datasets.{dataset}"),
    shell:
        stage("belle clean {input} {output.rows} {output.report} {params.settings}")


rule webtext:
    output:
        "data/webtext/{webtext}.jsonl",
    log:
        "logs/webtext-{webtext}.log",
    wildcard_constraints:
        webtext=registry.names("webtext"),
    params:
        settings=registry.value("webtext.{webtext}"),
    shell:
        stage("belle webtext {output} {params.settings}")


rule clean_text:
    input:
        documents=registry.path("{path}", path="texts.{text}.documents"),
        reference=registry.path("{path}", path="texts.{text}.reference"),
    output:
        documents="data/text/{text}.jsonl",
        report=metric("data/text/{text}.report.json"),
        rejects="data/text/{text}.rejects.jsonl",
    log:
        "logs/clean_text-{text}.log",
    wildcard_constraints:
        text=registry.names("texts"),
    params:
        settings=registry.settings("clean_text", "texts.{text}"),
    shell:
        stage(
            "belle clean_text {input.documents:q} {input.reference:q} {output.documents} {output.report}"
            " {output.rejects} {params.settings}"
        )
