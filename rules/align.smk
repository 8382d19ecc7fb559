# Preferences: answers drawn and judged, reward models, DPO and PPO. A killed job goes on from .belle/checkpoints.
rule sample:
    input:
        model=registry.path("models/{name}", name="pairs.{pairs}.model"),
        data=registry.path(
            "data/clean/{dataset}.jsonl", dataset="pairs.{pairs}.dataset"
        ),
    output:
        "data/samples/{pairs}.jsonl",
    log:
        "logs/sample-{pairs}.log",
    wildcard_constraints:
        pairs=registry.names("pairs", kind="judged"),
    threads: needs.sample_threads
    resources:
        gpus=needs.sample_gpus,
        gpu=needs.sample_gpu,
        gpu_memory_gb=needs.sample_gpu_memory_gb,
        mem_mb=needs.sample_mem_mb,
    params:
        name=registry.value("pairs.{pairs}.model"),
        settings=registry.settings("sample", "pairs.{pairs}"),
    shell:
        stage(
            "belle sample {input.model} {input.data} {output} .belle/checkpoints/sample-{wildcards.pairs}"
            " {params.name} {params.settings}"
        )


rule prefer:
    input:
        samples="data/samples/{pairs}.jsonl",
        prompts=checkout.ours("src/belle/prompts/judge"),
    output:
        pairs="data/pairs/{pairs}.jsonl",
        report=metric("data/pairs/{pairs}.report.json"),
    log:
        "logs/prefer-{pairs}.log",
    wildcard_constraints:
        pairs=registry.names("pairs", kind="judged"),
    resources:
        api=1,
        api_key=needs.prefer_api_key,
    params:
        settings=registry.settings("prefer", "pairs.{pairs}"),
    shell:
        stage(
            "belle prefer {input.samples} {input.prompts} {output.pairs} {output.report} {params.settings}"
        )


rule reward:
    input:
        base=registry.path("models/{base}", base="rewards.{reward}.base"),
        pairs=registry.given(params.pairs_of_reward),
        deepspeed=registry.given(params.deepspeed_of),
    output:
        model=directory("models/{reward}"),
        report=metric("models/{reward}.report.json"),
    log:
        "logs/reward-{reward}.log",
    wildcard_constraints:
        reward=registry.names("rewards"),
    threads: needs.train_threads
    resources:
        gpus=needs.train_gpus,
        gpu=needs.train_gpu,
        gpu_memory_gb=needs.train_gpu_memory_gb,
        disk_gb=needs.train_disk_gb,
        mem_mb=needs.train_mem_mb,
    params:
        gpus=registry.value("rewards.{reward}.gpus"),
        settings=registry.settings("reward", "rewards.{reward}"),
    shell:
        stage(
            "belle reward {input.base} {input.pairs:q} {output.model} {output.report}"
            " .belle/checkpoints/{wildcards.reward} --gpus {params.gpus} {params.settings}"
        )


rule dpo:
    input:
        base=registry.path("models/{base}", base="models.{model}.base"),
        pairs=registry.given(params.pairs_of_model),
        deepspeed=registry.given(params.deepspeed_of),
    output:
        model=directory("models/{model}"),
        report=metric("models/{model}.report.json"),
    log:
        "logs/dpo-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="preferred"),
    threads: needs.train_threads
    resources:
        gpus=needs.train_gpus,
        gpu=needs.train_gpu,
        gpu_memory_gb=needs.train_gpu_memory_gb,
        disk_gb=needs.train_disk_gb,
        mem_mb=needs.train_mem_mb,
    params:
        gpus=registry.value("models.{model}.gpus"),
        settings=registry.settings("dpo", "models.{model}"),
    shell:
        stage(
            "belle dpo {input.base} {input.pairs:q} {output.model} {output.report}"
            " .belle/checkpoints/{wildcards.model} --gpus {params.gpus} {params.settings}"
        )


rule ppo:
    input:
        base=registry.path("models/{base}", base="models.{model}.base"),
        reward=registry.path("models/{reward}", reward="models.{model}.reward"),
        data=registry.path(
            "data/clean/{dataset}.jsonl", dataset="models.{model}.dataset"
        ),
    output:
        model=directory("models/{model}"),
        report=metric("models/{model}.report.json"),
    log:
        "logs/ppo-{model}.log",
    wildcard_constraints:
        model=registry.names("models", kind="reinforced"),
    threads: needs.ppo_threads
    resources:
        gpus=needs.ppo_gpus,
        gpu=needs.ppo_gpu,
        gpu_memory_gb=needs.ppo_gpu_memory_gb,
        disk_gb=needs.ppo_disk_gb,
        mem_mb=needs.ppo_mem_mb,
    params:
        settings=registry.settings("ppo", "models.{model}"),
    shell:
        stage(
            "belle ppo {input.base} {input.reward} {input.data} {output.model} {output.report}"
            " .belle/checkpoints/{wildcards.model} {params.settings}"
        )
