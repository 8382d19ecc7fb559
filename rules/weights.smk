# Published weights: fetched from the hub, or released as XOR with a base.
rule fetch_model:
    output:
        directory("models/{base}"),
    log:
        "logs/fetch_model-{base}.log",
    wildcard_constraints:
        base=registry.names("bases", kind="hub"),
    resources:
        hub=registry.plain("bases.{base}.hub"),
        disk_gb=needs.fetch_disk_gb,
    params:
        hub=registry.value("bases.{base}.hub"),
        revision=registry.value("bases.{base}.revision"),
    shell:
        stage("belle fetch_model {params.hub} {output} --revision {params.revision}")


rule encrypt:
    input:
        plain="models/{model}",
        key=registry.path("models/{base}", base="models.{model}.base"),
    output:
        directory("models/{model}-enc"),
    log:
        "logs/encrypt-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="trained"),
    shell:
        stage("belle encrypt {input.plain} {input.key} {output}")


rule decrypt:
    input:
        encrypted=registry.path("{path}", path="models.{model}.release"),
        key=registry.weights("models.{model}.key"),
    output:
        directory("models/{model}"),
    log:
        "logs/decrypt-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="released"),
    shell:
        stage("belle decrypt {input.encrypted:q} {input.key:q} {output}")


# LLaMA as Meta publishes it, brought by hand: nobody may hand it on.
rule convert:
    input:
        source=registry.brought(registry.path("{path}", path="bases.{base}.source")),
        tokenizer=registry.brought(
            registry.path("{path}", path="bases.{base}.tokenizer")
        ),
    output:
        directory("models/{base}"),
    log:
        "logs/convert-{base}.log",
    wildcard_constraints:
        base=registry.names("bases", kind="converted"),
    resources:
        files=registry.absent(
            registry.path("{path}", path="bases.{base}.source"),
            registry.path("{path}", path="bases.{base}.tokenizer"),
        ),
        disk_gb=needs.convert_disk_gb,
        mem_mb=needs.convert_mem_mb,
    params:
        source=registry.value("bases.{base}.source"),
        tokenizer=registry.value("bases.{base}.tokenizer"),
        settings=registry.settings("convert", "bases.{base}"),
    shell:
        stage(
            "belle convert {output} {input.source:q} {input.tokenizer:q} {params.settings}"
        )


# The other way round: a source for `convert` in the tiny world.
rule unconvert:
    input:
        "models/{base}",
    output:
        directory("models/{base}-meta"),
    log:
        "logs/unconvert-{base}.log",
    wildcard_constraints:
        base=registry.names("bases", kind="scratch"),
    params:
        settings=registry.settings("unconvert"),
    shell:
        stage("belle unconvert {input} {output} {params.settings}")


rule vocabulary:
    input:
        base=registry.path("models/{name}", name="bases.{base}.base"),
        text=registry.brought(registry.path("{path}", path="bases.{base}.text")),
    output:
        model=directory("models/{base}"),
        report=metric("results/vocabulary/{base}.json"),
        page="results/vocabulary/{base}.md",
    log:
        "logs/vocabulary-{base}.log",
    wildcard_constraints:
        base=registry.names("bases", kind="expanded"),
    resources:
        files=registry.absent(registry.path("{path}", path="bases.{base}.text")),
        disk_gb=needs.vocabulary_disk_gb,
        mem_mb=needs.vocabulary_mem_mb,
    params:
        text=registry.value("bases.{base}.text"),
        settings=registry.settings("vocabulary", "bases.{base}"),
    shell:
        stage(
            "belle vocabulary {input.base} {input.text:q} {output.model} {output.report} {output.page}"
            " {params.settings}"
        )


rule merge:
    input:
        base=registry.path("models/{name}", name="models.{model}.base"),
        adapters=registry.brought(registry.given(params.adapters_of)),
    output:
        directory("models/{model}"),
    log:
        "logs/merge-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="merged"),
    threads: needs.merge_threads
    resources:
        files=registry.absent(registry.given(params.adapters_of)),
        disk_gb=needs.merge_disk_gb,
        mem_mb=needs.merge_mem_mb,
    params:
        adapters=registry.value("models.{model}.adapters"),
        settings=registry.settings("merge", "models.{model}"),
    shell:
        stage("belle merge {input.base} {output} {input.adapters:q} {params.settings}")
