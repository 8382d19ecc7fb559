# Checkpoints lie in .belle/checkpoints, outside of every output: a killed job goes on from them. Tokenised rows lie in
# .belle/tokens by their content: what is trained on the same rows again does not tokenise them again.
loss_curve = partial(
    plot,
    x="step",
    y="loss",
    x_label="optimizer step",
    y_label="loss",
    title="Training loss of {name}",
)


rule base:
    input:
        registry.path("data/corpus/{corpus}.txt", corpus="bases.{base}.corpus"),
    output:
        directory("models/{base}"),
    log:
        "logs/base-{base}.log",
    wildcard_constraints:
        base=registry.names("bases", kind="scratch"),
    threads: needs.base_threads
    params:
        settings=registry.settings("base", "bases.{base}"),
    shell:
        stage(
            "belle base {input} {output} .belle/checkpoints/{wildcards.base} {params.settings}"
        )


rule sft:
    input:
        base=registry.path("models/{base}", base="models.{model}.base"),
        data=registry.path(
            "data/clean/{dataset}.jsonl", dataset="models.{model}.dataset"
        ),
        deepspeed=registry.given(params.deepspeed_of),
    output:
        model=directory("models/{model}"),
        curve=loss_curve("results/training/{model}.csv"),
    log:
        "logs/sft-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="trained"),
    threads: needs.train_threads
    resources:
        gpus=needs.train_gpus,
        gpu=needs.train_gpu,
        gpu_memory_gb=needs.train_gpu_memory_gb,
        disk_gb=needs.train_disk_gb,
        mem_mb=needs.train_mem_mb,
    params:
        fraction=registry.value("models.{model}.data_fraction"),
        gpus=registry.value("models.{model}.gpus"),
        settings=registry.settings("sft", "models.{model}"),
        override=registry.overriding("models.{model}.override"),
    shell:
        stage(
            "belle sft {input.base} {input.data} {output.model} {output.curve}"
            " .belle/checkpoints/{wildcards.model} .belle/tokens"
            " --data_fraction {params.fraction} --gpus {params.gpus} {params.settings} {params.override}"
        )


rule pretrain:
    input:
        base=registry.path("models/{name}", name="bases.{base}.base"),
        texts=registry.brought(registry.path("{path}", path="bases.{base}.texts")),
        deepspeed=registry.given(params.deepspeed_of),
    output:
        model=directory("models/{base}"),
        curve=loss_curve("results/training/{base}.csv"),
    log:
        "logs/pretrain-{base}.log",
    wildcard_constraints:
        base=registry.names("bases", kind="pretrained"),
    threads: needs.train_threads
    resources:
        files=registry.absent(registry.path("{path}", path="bases.{base}.texts")),
        gpus=needs.train_gpus,
        gpu=needs.train_gpu,
        gpu_memory_gb=needs.train_gpu_memory_gb,
        disk_gb=needs.train_disk_gb,
        mem_mb=needs.train_mem_mb,
    params:
        gpus=registry.value("bases.{base}.gpus"),
        settings=registry.settings("pretrain", "bases.{base}"),
    shell:
        stage(
            "belle pretrain {input.base} {output.model} {output.curve} .belle/checkpoints/{wildcards.base}"
            " .belle/tokens {input.texts:q} --gpus {params.gpus} {params.settings}"
        )
