# Answers, verdicts, scores, and one table.
rule answer:
    input:
        model="models/{model}",
        questions=registry.path("{path}", path="evals.{eval}.path"),
    output:
        "results/answers/{eval}/{model}.jsonl",
    log:
        "logs/answer-{eval}-{model}.log",
    threads: needs.answer_threads
    resources:
        gpus=needs.gpus,
        gpu=needs.gpu,
        gpu_memory_gb=needs.answer_gpu_memory_gb,
        mem_mb=needs.mem_mb,
    params:
        settings=registry.settings("answer", "evals.{eval}"),
    shell:
        stage(
            "belle answer {input.model} {input.questions:q} {output} {wildcards.model} {params.settings}"
        )


rule judge:
    input:
        answers="results/answers/{eval}/{model}.jsonl",
        prompts=checkout.ours("src/belle/prompts/judge"),
    output:
        "results/verdicts/{eval}/{model}.jsonl",
    log:
        "logs/judge-{eval}-{model}.log",
    resources:
        api=1,
        api_key=needs.judge_api_key,
    params:
        settings=registry.settings("judge", "evals.{eval}"),
    shell:
        stage("belle judge {input.answers} {input.prompts} {output} {params.settings}")


rule score:
    input:
        "results/verdicts/{eval}/{model}.jsonl",
    output:
        metric("results/scores/{eval}/{model}.json"),
    log:
        "logs/score-{eval}-{model}.log",
    shell:
        stage("belle score {input} {output}")


# The reports of the data sets behind its models say what was removed for overlap with evaluation sets.
rule table:
    input:
        scores=registry.path(
            "results/scores/{eval}/{model}.json",
            eval="tables.{table}.eval",
            model="tables.{table}.models",
        ),
        reports=registry.given(params.reports_behind),
    output:
        md=in_git("results/tables/{table}.md"),
        csv=in_git("results/tables/{table}.csv"),
        json=in_git("results/tables/{table}.json"),
    log:
        "logs/table-{table}.log",
    params:
        title=registry.value("tables.{table}.title"),
        eval=registry.value("tables.{table}.eval"),
        models=params.trained_models,
    shell:
        stage(
            'belle table {output.md} {output.csv} {output.json} "{params.title}" {params.eval} {input.scores}'
            " --of {params.models} --reports {input.reports}"
        )


# Which way a change goes, over several seeds. Verdicts are there for the intervals over questions.
rule directions:
    input:
        results=registry.given(params.results_of_directions),
        verdicts=registry.given(params.verdicts_of_directions),
    output:
        md=in_git("results/directions/{directions}.md"),
        json=in_git("results/directions/{directions}.json"),
    log:
        "logs/directions-{directions}.log",
    wildcard_constraints:
        directions=registry.names("directions"),
    params:
        title=registry.value("directions.{directions}.title"),
        eval=registry.value("directions.{directions}.eval"),
        names=params.names_of_directions,
        recipes=params.recipes_of_directions,
        claims=params.claims_of_directions("name"),
        says=params.claims_of_directions("says"),
        measures=params.claims_of_directions("measure"),
        seeds=params.claims_of_directions("seeds"),
    shell:
        stage(
            'belle directions {output.md} {output.json} "{params.title}" {params.eval} {input.results}'
            " --verdicts {input.verdicts} --names {params.names} --recipes {params.recipes:q}"
            " --claims {params.claims} --says {params.says:q} --measures {params.measures:q} --seeds {params.seeds}"
        )
