# What all rules share: the checked params.yaml, and dvc.lock as the build state.
import os
import sys
from functools import partial
from pathlib import Path

from belle import strict_yaml
from belle.build import library
from belle.build.persistence import install
from belle.build.registry import Registry
from belle.build.stages import in_git, metric, plot, stage
from belle.stages import LEDGER, STAGES
from belle.chain import Chain
from belle.config import load, load_overridden
from belle.errors import InputError
from belle.needs import Needs
from belle.views.fitting import shortages

checkout = library.Checkout(
    Path(str(workflow.current_basedir)).parent, config
)  # `config` is Snakemake's: what another workflow overrides

try:
    if checkout.is_here:
        params = load()
        values = strict_yaml.load("params.yaml")  # as written: DVC sees 60, not 60.0
    else:
        params, values = load_overridden(
            checkout.path("params.yaml"), checkout.overrides, checkout.relative
        )
    needs = Needs(params)
except InputError as error:
    print(f"belle: {error}", file=sys.stderr, flush=True)
    sys.exit(error.exit_status)

registry = Registry(values)
made_of = Chain(params)
install(
    workflow,
    list(STAGES),
    (str(LEDGER),),
    needs.afterwards,
    None if checkout.is_here else values,
    partial(shortages, params=params, ledger=LEDGER),
)


# Used only with --software-deployment-method apptainer; .venv comes along with the folder.
container: "docker://python:3.11"


wildcard_constraints:
    dataset=registry.names("datasets"),
    base=registry.names("bases"),
    model="|".join(sorted(params.scored_names(), key=len, reverse=True)),
    eval=registry.names("evals"),
    table=registry.names("tables"),


# Bookkeeping: which code each stage can reach. Written before every build; a rule so that DVC can write it too.
rule fingerprint:
    input:
        checkout.ours("requirements.lock"),
        checkout.code("src/belle"),
    output:
        in_git("code.json"),
    log:
        "logs/fingerprint.log",
    shell:
        stage("belle fingerprint {output}")
