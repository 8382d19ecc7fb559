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
