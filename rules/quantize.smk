# Four bits, calibrated on the rows that the model was trained on.
rule gptq:
    input:
        model="models/{model}",
        data=registry.path(
            "data/clean/{dataset}.jsonl", dataset="models.{model}.dataset"
        ),
    output:
        directory("models/{model}-gptq"),
    log:
        "logs/gptq-{model}.log",
    wildcard_constraints:
        model=registry.names("models"),
    threads: needs.gptq_threads
    resources:
        gpus=needs.gpus,
        gpu=needs.gpu,
        gpu_memory_gb=needs.gptq_gpu_memory_gb,
        disk_gb=needs.gptq_disk_gb,
        mem_mb=needs.mem_mb,
    params:
        settings=registry.settings("gptq"),
    shell:
        stage("belle gptq {input.model} {input.data} {output} {params.settings}")
