# Published weights: fetched from the hub, or released as XOR with a base, or as the difference from one.
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
        encrypted=registry.brought("models.{model}.release"),
        key=registry.weights("models.{model}.key"),
    output:
        directory("models/{model}"),
    log:
        "logs/decrypt-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="released"),
    resources:
        disk_gb=needs.release_disk_gb,
    params:
        key_sha256=registry.value("models.{model}.key_sha256"),
    shell:
        stage(
            "belle decrypt {input.encrypted:q} {input.key:q} {output}"
            " --key_sha256 {params.key_sha256}"
        )


rule make_diff:
    input:
        tuned="models/{model}",
        base=registry.path("models/{base}", base="models.{model}.base"),
    output:
        directory("models/{model}-diff"),
    log:
        "logs/make_diff-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="trained"),
    shell:
        stage("belle make_diff {input.tuned} {input.base} {output}")


rule recover:
    input:
        difference=registry.brought("models.{model}.release"),
        base=registry.weights("models.{model}.base"),
    output:
        directory("models/{model}"),
    log:
        "logs/recover-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="recovered"),
    resources:
        disk_gb=needs.release_disk_gb,
    params:
        check_sum=registry.value("models.{model}.check_sum"),
    shell:
        stage(
            "belle recover {input.difference:q} {input.base:q} {output}"
            " --check_sum {params.check_sum}"
        )
