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


# What a model is, on one page. How long it took and on what stands in no result: `belle runs` says that.
rule card:
    input:
        model="models/{model}",
        cards=registry.given(made_of.cards),
        data=registry.brought(registry.given(made_of.data)),
        raw=registry.given(made_of.raw),
        cleaned=registry.given(made_of.cleaned),
        curve=registry.given(made_of.curve),
        reports=registry.given(made_of.reports),
        scores=registry.given(made_of.scores),
    output:
        md="results/cards/{model}.md",
        json="results/cards/{model}.json",
    log:
        "logs/card-{model}.log",
    wildcard_constraints:
        model="|".join([registry.names("bases"), registry.names("models")]),
    params:
        entry=registry.described(made_of.entry),
        recipe=registry.described(made_of.recipe),
        dataset=registry.described(made_of.dataset),
        texts=made_of.texts,
        asked=registry.described(made_of.asked),
        gptq=registry.described(made_of.gptq),
        pages=made_of.pages,
    shell:
        stage(
            "belle card {input.model} {output.md} {output.json} {wildcards.model} --cards {input.cards}"
            " --data {input.data:q} --raw {input.raw} --cleaned {input.cleaned} --curve {input.curve}"
            " --reports {input.reports} --scores {input.scores} --described @entry {params.entry}"
            " @recipe {params.recipe} @dataset {params.dataset} @texts {params.texts} @asked {params.asked} @gptq {params.gptq}"
            " @pages {params.pages}"
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
        names=params.names_of_directions,
        recipes=params.recipes_of_directions,
        claims=params.claims_of_directions("name"),
        says=params.claims_of_directions("says"),
        measures=params.claims_of_directions("measure"),
        evaluations=params.claims_of_directions("eval"),
        seeds=params.claims_of_directions("seeds"),
    shell:
        stage(
            'belle directions {output.md} {output.json} "{params.title}" {input.results}'
            " --verdicts {input.verdicts} --names {params.names} --recipes {params.recipes:q}"
            " --claims {params.claims} --says {params.says:q} --measures {params.measures:q}"
            " --evaluations {params.evaluations} --seeds {params.seeds}"
        )
