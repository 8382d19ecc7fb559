# Published weights: fetched from the hub, or released as XOR with a base.
rule fetch_model:
    output:
        directory("models/{base}"),
    params:
        hub=registry.value("bases.{base}.hub"),
        revision=registry.value("bases.{base}.revision"),
    wildcard_constraints:
        base=registry.names("bases", kind="hub"),
    resources:
        hub=registry.plain("bases.{base}.hub"),
        disk_gb=needs.fetch_disk_gb,
    log:
        "logs/fetch_model-{base}.log",
    shell:
        stage("belle fetch_model {params.hub} {output} --revision {params.revision}")


rule encrypt:
    input:
        plain="models/{model}",
        key=registry.path("models/{base}", base="models.{model}.base"),
    output:
        directory("models/{model}-enc"),
    wildcard_constraints:
        model=registry.names("models", kind="trained"),
    log:
        "logs/encrypt-{model}.log",
    shell:
        stage("belle encrypt {input.plain} {input.key} {output}")


rule decrypt:
    input:
        encrypted=registry.path("{path}", path="models.{model}.release"),
        key=registry.weights("models.{model}.key"),
    output:
        directory("models/{model}"),
    wildcard_constraints:
        model=registry.names("models", kind="released"),
    log:
        "logs/decrypt-{model}.log",
    shell:
        stage("belle decrypt {input.encrypted:q} {input.key:q} {output}")
