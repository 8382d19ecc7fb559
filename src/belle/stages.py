"""The stages: one subcommand of ``belle`` for each, which takes apart its arguments and calls the stage's function.

A stage's files are positional, its settings are flags named as in params.yaml. Heavy imports stand inside functions, so
``belle --help`` is quick and a stage loads only what it needs. Environment variables are read here and in
``belle.cli``, and nowhere below.
"""

from __future__ import annotations

import argparse
import os
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from belle import settings as sections
from belle.errors import InputError

LEDGER = Path("data/ledger")
"""Where every paid request and reply is kept; outside every stage's outputs, tracked by DVC."""

Arguments = argparse.Namespace

SAME_BYTES = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",  # MKL goes by AVX2 where this says so on an Intel, and its own way on an AMD
}
"""Which instructions a result on a CPU is computed by; every x86 machine of the last ten years has them."""


def numeric_environment(threads: int) -> None:
    """Pin what the bytes of a result on a CPU depend on; must run before torch is imported."""
    os.environ.update(SAME_BYTES)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ["GPTQMODEL_CPU_WORKERS"] = str(max(2, threads))  # gptqmodel fails with fewer than two
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    os.environ["TORCH_EXTENSIONS_DIR"] = str(Path(".belle/torch-extensions").absolute())
    os.environ["HF_HUB_OFFLINE"] = "1"  # models are folders here; a wrong path must not wait for the network
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


def in_processes(args: Arguments) -> bool:
    """Start a training as ``args.gpus`` processes, or on the CPU as ``args.devices``, and wait for them.

    Returns:
        Whether that was done; False in each of those processes, in one that torchrun or the like has started, and
        where one process on the CPU is all that is asked for: the stage then trains here.
    """
    processes = args.gpus or getattr(args, "devices", 1)
    if "LOCAL_RANK" not in os.environ and (args.gpus or processes > 1):
        from belle.files import discard_temporaries
        from belle.train.launch import launch
        from belle.train.places import HERE, Place, places_of

        where = args.launch()
        try:
            launch(
                # not by its whole name: the fingerprint would follow the command line into every other stage
                [sys.executable, "-m", f"{__package__}.cli", *args.words], processes,
                places=places_of(Path(where.hostfile)) if where.hostfile else [Place(HERE, processes)],
                remote=where.remote, master_address=where.master_address,
                environment={name: value for name, value in os.environ.items() if not name.startswith("DVC_")},
                what="",
            )  # fmt: skip
        finally:
            for path in (args.out, *filter(None, (getattr(args, name, None) for name in ("curve", "report")))):
                discard_temporaries(path)
        return True
    if not args.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what is declared for a CPU must not depend on who has a GPU
        os.environ["DS_ACCELERATOR"] = "cpu"
    return False


def api_key() -> str:
    """The key of the chat API, from the environment only."""
    return os.environ.get("OPENAI_API_KEY", "")


def asking(args: Arguments) -> dict[str, Any]:
    """What every stage that asks an API is told besides its settings."""
    return {
        "ledger": args.ledger, "api_key": api_key(), "budget": args.budget, "in_flight": args.pace.in_flight,
        "timeout_s": args.pace.timeout_s, "mode": args.pace.mode,
    }  # fmt: skip


def lines_of(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of an asking whose ``stop`` was written on one line, as a command is."""
    return {**given, "stop": [text.replace(r"\n", "\n") for text in given["stop"]]}


def whole_numbers(words: list[str], option: str) -> list[int]:
    """The words of an option that takes whole numbers."""
    if odd := [word for word in words if not word.isdecimal()]:
        raise InputError(f"{option}: must be whole numbers, found {odd[0]!r}", where="command line")
    return [int(word) for word in words]


def corpus(args: Arguments) -> None:
    """Write the plain-text corpus of the tiny world."""
    from belle.data.corpus import corpus

    corpus(out=args.out, **keywords(args, sections.Corpus))


def evalset(args: Arguments) -> None:
    """Write an evaluation set of the tiny world: questions that no training row asks."""
    from belle.data.evalset import evalset

    evalset(out=args.out, **keywords(args, sections.Evalset))


def fetch_dataset(args: Arguments) -> None:
    """Fetch a published data set by its hub name (or a local folder) as raw rows."""
    from belle.data.importing.fetch_dataset import fetch_dataset

    fetch_dataset(
        hub=args.hub, out=args.out, report=args.report, revision=args.revision, split=args.split,
        format=args.format, licence=args.licence,
    )  # fmt: skip


def import_dataset(args: Arguments) -> None:
    """Import a file or a folder of rows, in any of the formats and containers that users have, as raw rows."""
    from belle.data.importing.import_dataset import import_dataset

    path, *categories = args.paths  # the data, then the file of its categories, if any
    if len(categories) > 1:
        raise InputError(f"{len(args.paths)} paths, found after PATH: {categories}", where="command line",
                         cause="several files of rows", fix="name their folder")  # fmt: skip
    import_dataset(
        path=path, categories=categories[0] if categories else None, out=args.out, report=args.report,
        format=args.format, licence=args.licence,
    )  # fmt: skip


def fetch_model(args: Arguments) -> None:
    """Fetch a published base model by its hub name."""
    from belle.weights.fetch_model import fetch_model

    fetch_model(hub=args.hub, out=args.out, revision=args.revision)


def generate(args: Arguments) -> None:
    """Ask a chat API for rows by Self-Instruct; every reply is kept in the ledger and never paid twice."""
    from belle.data.generate import generate

    generate(
        seeds=args.seeds, prompt=args.prompt, out=args.out, report=args.report,
        **asking(args), **lines_of(keywords(args, sections.Generate)),
    )  # fmt: skip


def ask(args: Arguments) -> None:
    """Ask a chat API for rows of another kind: dialogues, roles, school mathematics, conversations, a crawl."""
    from belle.data.ask import ask

    ask(
        seeds=args.seeds, prompts=args.prompts, out=args.out, report=args.report,
        **asking(args), **lines_of(keywords(args, sections.Ask)),
    )  # fmt: skip


def label(args: Arguments) -> None:
    """Ask a chat API for the categories of a sample of rows; a verdict is kept in the ledger and never paid twice."""
    from belle.data.label import label

    label(
        rows_of=args.rows_of, prompts=args.prompts, out=args.out, report=args.report,
        **asking(args), **keywords(args, sections.Label),
    )  # fmt: skip


def classifier(args: Arguments) -> None:
    """Train a classifier of rows on labelled ones, and report its accuracy on those that it has not seen."""
    from belle.data.classifier import classifier

    classifier(labels=args.labels, out=args.out, report=args.report, **keywords(args, sections.Classifier))


def categorise(args: Arguments) -> None:
    """Give every row its category by a trained classifier."""
    from belle.data.categorise import categorise

    categorise(raw=args.raw, model=args.model, out=args.out, report=args.report)


def clean(args: Arguments) -> None:
    """Filter raw rows; each ends as a clean row or as a counted reason."""
    from belle.data.clean import clean

    given = keywords(args, sections.Clean)
    names = given.pop("decontaminate")
    if len(args.weighed) > 1:
        raise InputError(f"{len(args.weighed)} folders of weights, one at most is meant", where="command line")
    if len(names) != len(args.evals):
        raise InputError(f"{len(args.evals)} evaluation sets for {len(names)} names", where="command line")
    clean(
        raw=args.raw, out=args.out, report=args.report, rejects=args.rejects, page=args.page,
        remembered=args.remembered,
        evals=dict(zip(names, args.evals, strict=True)), workers=len(os.sched_getaffinity(0)),
        weighed=Path(args.weighed[0]) if args.weighed else None, **given,
    )  # fmt: skip


def mix(args: Arguments) -> None:
    """Put raw data sets end to end as one; every row keeps its id and is told its set."""
    from belle.data.mix import mix

    mix(
        out=args.out, report=args.report, raws=args.raws, reports=[Path(path) for path in args.reports],
        names=args.names,
    )  # fmt: skip


def weigh(args: Arguments) -> None:
    """Let a base model read every raw row: how likely it is, and where it lies among others; resumes after a kill."""
    numeric_environment(args.threads)
    from belle.data.weigh import weigh

    weigh(
        raw=args.raw, base=args.base, reference=args.reference, out=args.out, report=args.report,
        remembered=args.remembered, **keywords(args, sections.Weigh),
    )  # fmt: skip


def webtext(args: Arguments) -> None:
    """Write raw web documents of the tiny world, with every fault that cleaning looks for."""
    from belle.data.text.webtext import webtext

    webtext(out=args.out, **keywords(args, sections.Webtext))


def clean_text(args: Arguments) -> None:
    """Clean documents for pretraining; each document and line ends as kept or as a counted reason."""
    from belle.data.text.clean_text import clean_text

    clean_text(
        documents=args.documents, reference=args.reference, out=args.out, report=args.report, rejects=args.rejects,
        workers=len(os.sched_getaffinity(0)), **keywords(args, sections.CleanText),
    )  # fmt: skip


def base(args: Arguments) -> None:
    """Train a tokenizer and a tiny LLaMA-shaped base model from scratch."""
    numeric_environment(args.threads)
    from belle.train.base import base

    base(corpus=args.corpus, out=args.out, checkpoints=args.checkpoints, **keywords(args, sections.Base))


def encrypt(args: Arguments) -> None:
    """XOR a model (or file) with a key, in the form BELLE released its LLaMA models."""
    from belle.weights.encrypt import encrypt

    encrypt(plain=args.plain, key=args.key, out=args.out)


def decrypt(args: Arguments) -> None:
    """Undo `encrypt`, or BELLE's own releases; an output gets its name only when its hash holds."""
    from belle.weights.decrypt import decrypt

    decrypt(encrypted=args.encrypted, key=args.key, out=args.out, key_sha256=args.key_sha256)


def make_diff(args: Arguments) -> None:
    """Subtract a base from a model tuned on it, tensor by tensor, as Stanford Alpaca was released."""
    from belle.weights.make_diff import make_diff

    make_diff(tuned=args.tuned, base=args.base, out=args.out)


def recover(args: Arguments) -> None:
    """Undo `make_diff`, or Alpaca's own release: add the base to a difference."""
    from belle.weights.recover import recover

    recover(difference=args.difference, base=args.base, out=args.out, check_sum=args.check_sum)


def convert(args: Arguments) -> None:
    """Convert LLaMA as Meta publishes it, consolidated.NN.pth and params.json, to a Hugging Face folder."""
    numeric_environment(1)
    from belle.weights.convert import convert

    source, *tokenizer = args.paths  # Meta's folder, then its tokenizer, where that lies elsewhere
    if len(tokenizer) > 1:
        raise InputError(f"{len(args.paths)} paths, found after FOLDER: {tokenizer}", where="command line",
                         cause="several tokenizers", fix="name one tokenizer.model")  # fmt: skip
    convert(
        source=source, tokenizer=tokenizer[0] if tokenizer else None, out=args.out, **keywords(args, sections.Convert)
    )


def unconvert(args: Arguments) -> None:
    """Write a LLaMA folder of Hugging Face's in Meta's layout, as the tiny world's source of `convert`."""
    numeric_environment(1)
    from belle.weights.unconvert import unconvert

    unconvert(model=args.model, out=args.out, **keywords(args, sections.Unconvert))


def merge(args: Arguments) -> None:
    """Add LoRA adapters to a base, in order, and write a plain Hugging Face folder; tensor by tensor."""
    numeric_environment(args.threads)
    from belle.weights.merge import merge

    merge(base=args.base, adapters=args.adapters, out=args.out, **keywords(args, sections.Merge))


def vocabulary(args: Arguments) -> None:
    """Expand a base's vocabulary by the pieces of a corpus, its embeddings by the means of what they replace."""
    numeric_environment(1)
    from belle.weights.vocabulary import vocabulary

    vocabulary(
        base=args.base, text=args.text, out=args.out, report=args.report, page=args.page,
        **keywords(args, sections.Vocabulary),
    )  # fmt: skip


def train(args: Arguments, section: type[sections.Training], work: Callable[..., None]) -> None:
    """Call ``work`` with a training's settings in as many processes as are asked for: start them, or be one of them."""
    numeric_environment(args.threads)
    settings = keywords(args, section)
    if in_processes(args):
        return
    from belle.train.faults import reporting

    with reporting(os.environ.get("BELLE_FAULT", "")):
        from belle.train.scale import require_gpu

        if args.gpus:
            require_gpu(int(os.environ["LOCAL_RANK"]), args.command)
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        work(
            base=args.base, out=args.out, checkpoints=args.checkpoints, save_steps=args.pace.save_steps,
            processes=processes, cpu=not args.gpus, **settings,
        )  # fmt: skip


def sft(args: Arguments) -> None:
    """Fine-tune a model, fully or by LoRA with merge; on several GPUs and hosts, too; resumes after a kill."""

    def work(**given: Any) -> None:
        from belle.train.sft import sft

        sft(data=args.data, data_fraction=args.data_fraction, tokens=args.tokens, curve=args.curve, **given)

    train(args, sections.Sft, work)


def pretrain(args: Arguments) -> None:
    """Pretrain a model further on texts: all of it, its embeddings, or adapters; resumes after a kill."""

    def work(**given: Any) -> None:
        from belle.train.pretrain import pretrain

        pretrain(texts=args.texts, tokens=args.tokens, curve=args.curve, **given)

    train(args, sections.Pretrain, work)


def gptq(args: Arguments) -> None:
    """Quantise a model by GPTQ, calibrated on its own training rows."""
    numeric_environment(args.threads)
    from belle.quantize.gptq import gptq

    gptq(model=args.model, data=args.data, out=args.out, **keywords(args, sections.Gptq))


def answer(args: Arguments) -> None:
    """Let a model answer an evaluation set."""
    numeric_environment(args.threads)
    from belle.evaluate.answer import answer

    answer(model=args.model, questions=args.questions, out=args.out, name=args.name, **keywords(args, sections.Answer))


def judge(args: Arguments) -> None:
    """Let a judge score answers; every verdict is kept in the ledger and never paid twice."""
    from belle.evaluate.judge import judge

    judge(
        answers=args.answers, prompts=args.prompts, out=args.out,
        **asking(args), **keywords(args, sections.Judge),
    )  # fmt: skip


def score(args: Arguments) -> None:
    """Average verdicts by class, as the papers do."""
    from belle.evaluate.score import score

    score(verdicts=args.verdicts, out=args.out)


def table(args: Arguments) -> None:
    """Write one table of several models' scores, in Markdown, CSV and JSON."""
    from belle.evaluate.table import table

    table(
        scores=args.scores, out_md=args.out_md, out_csv=args.out_csv, out_json=args.out_json, title=args.title,
        evaluation=args.evaluation, of=args.of, reports=[Path(path) for path in args.reports],
    )  # fmt: skip


def card(args: Arguments) -> None:
    """Write a model's card: what it is made of, with digests, settings, loss, scores, and what its licences ask."""
    numeric_environment(1)
    from belle.evaluate.card import card

    several = {
        field: [Path(path) for path in getattr(args, field)]
        for field in ("cards", "data", "raw", "cleaned", "curve", "reports", "scores")
    }
    card(
        name=args.name, model=args.model, out_md=args.out_md, out_json=args.out_json, described=args.described,
        **several,
    )  # fmt: skip


def directions(args: Arguments) -> None:
    """Tell for each of several claims whether it shows: its mean difference over seeds, with an interval."""
    from belle.evaluate.directions import directions

    directions(
        out_md=args.out_md, out_json=args.out_json, title=args.title, results=args.results,
        verdicts=[Path(path) for path in args.verdicts], names=args.names, evaluations=args.evaluations,
        recipes=args.recipes, claims=args.claims, says=args.says, measures=args.measures,
        seeds=whole_numbers(args.seeds, "--seeds"),
    )  # fmt: skip


def sample(args: Arguments) -> None:
    """Let a model draw several answers to each of some training prompts."""
    numeric_environment(args.threads)
    from belle.evaluate.sample import sample

    sample(
        model=args.model, data=args.data, out=args.out, checkpoints=args.checkpoints, name=args.name,
        **keywords(args, sections.Sample),
    )  # fmt: skip


def prefer(args: Arguments) -> None:
    """Make pairs of a better and a worse answer by a judge's scores; no verdict is paid twice."""
    from belle.evaluate.prefer import prefer

    prefer(
        samples=args.samples, prompts=args.prompts, out=args.out, report=args.report,
        **asking(args), **keywords(args, sections.Prefer),
    )  # fmt: skip


def reward(args: Arguments) -> None:
    """Train a reward model on pairs of answers; on several GPUs and hosts, too; resumes after a kill."""

    def work(**given: Any) -> None:
        from belle.train.reward import reward

        reward(pairs=args.pairs, report=args.report, **given)

    train(args, sections.Reward, work)


def dpo(args: Arguments) -> None:
    """Train a model to prefer the better answers of pairs, fully or by LoRA with merge; resumes after a kill."""

    def work(**given: Any) -> None:
        from belle.train.dpo import dpo

        dpo(pairs=args.pairs, report=args.report, **given)

    train(args, sections.Dpo, work)


def ppo(args: Arguments) -> None:
    """Reinforce a model by a reward model, by PPO or GRPO, fully or by LoRA with merge; resumes after a kill."""
    numeric_environment(args.threads)
    from belle.train.ppo import ppo

    ppo(
        base=args.base, reward=args.reward, data=args.data, out=args.out, report=args.report,
        checkpoints=args.checkpoints, save_steps=args.pace.save_steps, **keywords(args, sections.Ppo),
    )  # fmt: skip


Command = Callable[[Arguments], None]

STAGES: dict[str, tuple[Command, str]] = {
    "corpus": (corpus, "out"),
    "evalset": (evalset, "out"),
    "fetch_dataset": (fetch_dataset, "hub= out report format= licence= --revision= --split="),
    "import_dataset": (import_dataset, "out report format= licence= paths*"),
    "fetch_model": (fetch_model, "hub= out --revision="),
    "generate": (generate, "seeds prompt out report --ledger"),
    "ask": (ask, "seeds prompts out report --ledger"),
    "clean": (clean, "raw out report rejects page remembered evals? --weighed*"),
    "mix": (mix, "out report raws* --names* --reports*"),
    "weigh": (weigh, "raw base reference out report remembered"),
    "label": (label, "rows_of prompts out report --ledger"),
    "classifier": (classifier, "labels out report"),
    "categorise": (categorise, "raw model out report"),
    "webtext": (webtext, "out"),
    "clean_text": (clean_text, "documents reference out report rejects"),
    "base": (base, "corpus out checkpoints"),
    "encrypt": (encrypt, "plain key out"),
    "decrypt": (decrypt, "encrypted key out --key_sha256="),
    "make_diff": (make_diff, "tuned base out"),
    "recover": (recover, "difference base out --check_sum="),
    "convert": (convert, "out paths*"),
    "unconvert": (unconvert, "model out"),
    "merge": (merge, "base out adapters*"),
    "vocabulary": (vocabulary, "base text out report page"),
    "sft": (sft, "base data out curve checkpoints tokens --data_fraction --gpus"),
    "pretrain": (pretrain, "base out curve checkpoints tokens texts* --gpus"),
    "gptq": (gptq, "model data out"),
    "answer": (answer, "model questions out name="),
    "judge": (judge, "answers prompts out --ledger"),
    "score": (score, "verdicts out"),
    "sample": (sample, "model data out checkpoints name="),
    "prefer": (prefer, "samples prompts out report --ledger"),
    "reward": (reward, "base pairs out report checkpoints --gpus"),
    "dpo": (dpo, "base pairs out report checkpoints --gpus"),
    "ppo": (ppo, "base reward data out report checkpoints"),
    "directions": (
        directions,
        "out_md out_json title= results* --verdicts* --names* --recipes* --claims* --says* --measures* --evaluations*"
        " --seeds*",
    ),
    "table": (table, "out_md out_csv out_json title= evaluation= scores* --of* --reports*"),
    "card": (
        card,
        "model out_md out_json name= --cards* --data* --raw* --cleaned* --curve* --reports* --scores* --described…",
    ),
}
"""Stage → its function and its arguments: a path, ``name=`` text, ``name*`` several paths, ``name?`` any number of
paths, ``--name`` an
option, ``--name*`` one of several values, ``--name…`` one that takes all that follows, flags too."""

DEFAULTS = {"--revision=": "main", "--split=": "train", "--key_sha256=": "any", "--check_sum=": "none"}
"""What options of one value are where they are not given."""

ASKING = frozenset({"generate", "ask", "label", "judge", "prefer"})
"""The stages that add to the ledger."""


def keywords(args: Arguments, section: type[sections.Section]) -> dict[str, Any]:
    """The flags of a section as keyword arguments.

    Raises:
        InputError: a value out of range; the message names each.
    """
    given = {field: getattr(args, field) for field in section.model_fields}
    try:
        return section.model_validate(given).model_dump()
    except ValueError as error:
        raise InputError(f"{error}", where="command line") from None


def _option(parser: argparse.ArgumentParser, name: str, annotation: Any) -> None:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    origin = typing.get_origin(annotation)
    if annotation is bool:
        parser.add_argument(f"--{name}", action="store_true")
    elif origin is list:
        item = typing.get_args(annotation)[0]
        whole = typing.get_origin(item) is typing.Annotated and typing.get_args(item)[0] is int
        parser.add_argument(f"--{name}", nargs="*", default=[], type=int if whole else str)
    elif origin is typing.Literal:
        choices = typing.get_args(annotation)
        parser.add_argument(f"--{name}", type=type(choices[0]), choices=choices, required=True)
    else:
        parser.add_argument(f"--{name}", type=annotation, required=True)


def add_stage(commands: Any, name: str, command: Command, arguments: str) -> None:
    """Give the command line a stage's subcommand; ``arguments`` are those of its item in ``STAGES``."""
    parser = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
    for argument in arguments.split():
        if argument == "--ledger":
            parser.add_argument(argument, type=Path, default=LEDGER, help="folder (default: %(default)s)")
        elif argument == "--data_fraction":
            parser.add_argument(argument, type=float, default=1.0, help="share of the rows (default: %(default)s)")
        elif argument == "--gpus":
            parser.add_argument(argument, type=int, default=0, help="how many to train on (default: none)")
        elif argument.endswith("…"):
            parser.add_argument(argument[:-1], nargs=argparse.REMAINDER, default=[])
        elif argument.startswith("--") and argument.endswith("*"):
            parser.add_argument(argument[:-1], nargs="*", default=[])
        elif argument.startswith("--"):
            parser.add_argument(argument.rstrip("="), default=DEFAULTS[argument])
        elif argument.endswith("="):
            parser.add_argument(argument[:-1])
        elif argument.endswith("?"):
            parser.add_argument(argument[:-1], type=Path, nargs="*")
        elif argument.endswith("*"):
            parser.add_argument(argument[:-1], type=Path, nargs="+")
        else:
            parser.add_argument(argument, type=Path)
    section = sections.SECTIONS.get(name)
    for field, annotation in typing.get_type_hints(section, include_extras=True).items() if section else ():
        if field in section.model_fields:  # type: ignore[union-attr]
            _option(parser, field, annotation)
    parser.set_defaults(run=command, command=name)
