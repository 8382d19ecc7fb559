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


rule ask:
    input:
        seeds=registry.path("{path}", path="datasets.{dataset}.seeds"),
        prompts=checkout.ours("src/belle/prompts/sets"),
    output:
        rows="data/raw/{dataset}.jsonl",
        report="data/raw/{dataset}.report.json",
    log:
        "logs/ask-{dataset}.log",
    wildcard_constraints:
        dataset=registry.names("datasets", kind="asked"),
    resources:
        api=1,
        api_key=needs.ask_api_key,
    params:
        settings=registry.settings("ask", "datasets.{dataset}"),
    shell:
        stage(
            "belle ask {input.seeds:q} {input.prompts} {output.rows} {output.report} {params.settings}"
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


rule mix:
    input:
        rows=registry.path("data/raw/{set}.jsonl", set="datasets.{dataset}.sets"),
        reports=registry.path(
            "data/raw/{set}.report.json", set="datasets.{dataset}.sets"
        ),
    output:
        rows="data/raw/{dataset}.jsonl",
        report="data/raw/{dataset}.report.json",
    log:
        "logs/mix-{dataset}.log",
    wildcard_constraints:
        dataset=registry.names("datasets", kind="mixed"),
    params:
        names=params.mixed_sets,
    shell:
        stage(
            "belle mix {output.rows} {output.report} {input.rows} --names {params.names} --reports {input.reports}"
        )


# What was said of a row lies in .belle/memory, outside of every output: a model reads each row once.
rule weigh:
    input:
        rows="data/raw/{dataset}.jsonl",
        base=registry.path("models/{base}", base="weighers.{weigher}.base"),
        reference=registry.path("{path}", path="weighers.{weigher}.reference"),
    output:
        weights=directory("data/weighed/{weigher}/{dataset}"),
        report=metric("data/weighed/{weigher}/{dataset}.report.json"),
    log:
        "logs/weigh-{weigher}-{dataset}.log",
    wildcard_constraints:
        weigher=registry.names("weighers"),
    threads: needs.weigh_threads
    resources:
        gpus=needs.weigh_gpus,
        gpu=needs.weigh_gpu,
        gpu_memory_gb=needs.weigh_gpu_memory_gb,
        disk_gb=needs.weigh_disk_gb,
        mem_mb=needs.weigh_mem_mb,
    params:
        settings=registry.settings("weigh", "weighers.{weigher}"),
    shell:
        stage(
            "belle weigh {input.rows} {input.base} {input.reference:q} {output.weights} {output.report}"
            " .belle/memory/weigh-{wildcards.weigher}-{wildcards.dataset} {params.settings}"
        )


# What it saw and decided lies in .belle/memory, outside of every output: after an edit only new rows are looked at.
rule clean:
    input:
        rows="data/raw/{dataset}.jsonl",
        evals=registry.through(
            "clean", "datasets.{dataset}", "decontaminate", "evals.{name}.path"
        ),
        weighed=registry.given(params.weights_of),
    output:
        rows="data/clean/{dataset}.jsonl",
        report=metric("data/clean/{dataset}.report.json"),
        rejects="data/clean/{dataset}.rejects.jsonl",
        page="data/clean/{dataset}.report.html",
    log:
        "logs/clean-{dataset}.log",
    params:
        settings=registry.settings("clean", "datasets.{dataset}"),
    shell:
        stage(
            "belle clean {input.rows} {output.rows} {output.report} {output.rejects} {output.page}"
            " .belle/memory/clean-{wildcards.dataset} {input.evals:q} --weighed {input.weighed} {params.settings}"
        )


rule label:
    input:
        rows=registry.path(
            "data/clean/{dataset}.jsonl", dataset="categories.{categories}.dataset"
        ),
        prompts=checkout.ours("src/belle/prompts/sets"),
    output:
        rows="data/labels/{categories}.jsonl",
        report="data/labels/{categories}.report.json",
    log:
        "logs/label-{categories}.log",
    wildcard_constraints:
        categories=registry.names("categories"),
    resources:
        api=1,
        api_key=needs.label_api_key,
    params:
        settings=registry.settings("label", "categories.{categories}"),
    shell:
        stage(
            "belle label {input.rows} {input.prompts} {output.rows} {output.report} {params.settings}"
        )


rule classifier:
    input:
        "data/labels/{categories}.jsonl",
    output:
        model=directory("data/classifiers/{categories}"),
        report=metric("data/classifiers/{categories}.report.json"),
    log:
        "logs/classifier-{categories}.log",
    wildcard_constraints:
        categories=registry.names("categories"),
    params:
        settings=registry.settings("classifier", "categories.{categories}"),
    shell:
        stage(
            "belle classifier {input} {output.model} {output.report} {params.settings}"
        )


rule categorise:
    input:
        rows="data/clean/{dataset}.jsonl",
        model="data/classifiers/{categories}",
    output:
        rows="data/categorised/{categories}/{dataset}.jsonl",
        report=metric("data/categorised/{categories}/{dataset}.report.json"),
    log:
        "logs/categorise-{categories}-{dataset}.log",
    wildcard_constraints:
        categories=registry.names("categories"),
    shell:
        stage(
            "belle categorise {input.rows} {input.model} {output.rows} {output.report}"
        )


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
