"""TensorBoard's curves, speed and memory: outside of results, whole after a kill, and no byte of a result changed."""

import json

import pytest

from conftest import PRETRAIN, SFT, contents

pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")

SETTINGS = {**SFT, "num_train_epochs": 20.0, "save_steps": 16}  # 48 rows in batches of 4: 240 steps


class Killed(Exception):
    pass


def points(folder):
    """What TensorBoard shows: tag → (step, value)s."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    return {tag: [(item.step, item.value) for item in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@pytest.fixture
def watched():
    """Looks on at what is trained under it, as the command line does."""
    from contextlib import contextmanager

    from belle.train.tracking import Tracking
    from belle.train.watching import WATCHERS

    @contextmanager
    def look(name, root):
        made = []

        def make():
            made.append(Tracking(name, root))
            return made[-1]

        WATCHERS.append(make)
        try:
            yield made
        finally:
            WATCHERS.remove(make)

    return look


def train(world, base, out, **settings):
    from belle.train.sft import sft

    checkpoints = out.with_name(f"checkpoints-{out.name}")
    sft(base=base, data=world / "train.jsonl", out=out, checkpoints=checkpoints, curve=out.with_suffix(".csv"),
        **{**SETTINGS, **settings})  # fmt: skip


def train_until(dies_at, monkeypatch, world, base, out, **settings):
    """Train, and die in the batch after so many steps."""
    from belle.train.trainer import FiniteTrainer

    step = FiniteTrainer.training_step

    def dies(self, *args, **kwargs):
        if self.state.global_step == dies_at:
            raise Killed
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(FiniteTrainer, "training_step", dies)
        with pytest.raises(Killed):
            train(world, base, out, **settings)


@pytest.fixture(scope="module")
def straight(world, tiny_base, tmp_path_factory):
    """A model that nobody looked on at, and its curve."""
    out = tmp_path_factory.mktemp("straight") / "m"
    train(world, tiny_base, out)
    return out


def losses(out):
    lines = out.with_suffix(".csv").read_text(encoding="utf-8").splitlines()[1:]
    return [float(line.partition(",")[2]) for line in lines]


def test_a_training_that_is_looked_on_at_ends_with_the_same_bytes(world, tiny_base, straight, tmp_path, watched):
    with watched("m", tmp_path) as made:
        train(world, tiny_base, tmp_path / "m")
    assert contents(tmp_path / "m") == contents(straight)
    assert losses(tmp_path / "m") == losses(straight)
    [look] = made
    took = json.loads((tmp_path / ".belle/runs/m.json").read_text(encoding="utf-8"))
    assert (took["step"], took["steps"], took["interrupted"], took["processes"]) == (240, 240, 0, 1)
    assert took["tokens"] % 20 == 0  # every row twenty times
    assert took["tokens_per_second"] == pytest.approx(took["tokens"] / took["seconds"])
    assert 0.1 < took["peak_memory_gb"] < 60
    assert took["mfu"] is None  # no peak is known of a CPU
    assert "tensorboard --logdir" in look.last_words()
    assert f"{took['tokens']:,} tokens" in look.last_words()


def test_its_tokens_are_those_of_the_rows_without_padding(world, tiny_base, tmp_path, watched):
    from transformers import AutoTokenizer

    from belle.train.sft import read_examples

    with watched("m", tmp_path):
        train(world, tiny_base, tmp_path / "m", num_train_epochs=2.0)
    with watched("packed", tmp_path):
        train(world, tiny_base, tmp_path / "packed", num_train_epochs=2.0, packing=True)
    examples = read_examples(
        world / "train.jsonl", AutoTokenizer.from_pretrained(tiny_base), data_fraction=1.0, prompt_format="belle",
        cutoff_len=64,
    )  # fmt: skip
    expected = 2 * sum(len(example.input_ids) for example in examples)
    for name in ("m", "packed"):
        assert json.loads((tmp_path / f".belle/runs/{name}.json").read_text(encoding="utf-8"))["tokens"] == expected


@pytest.mark.parametrize("dies_at", [7, 60, 130, 239])
def test_curves_of_a_killed_run_are_those_of_a_straight_one(
    world, tiny_base, straight, tmp_path, watched, monkeypatch, dies_at
):
    with watched("m", tmp_path):
        train_until(dies_at, monkeypatch, world, tiny_base, tmp_path / "m")
    with watched("m", tmp_path):
        train(world, tiny_base, tmp_path / "m")
    assert contents(tmp_path / "m") == contents(straight)
    found = points(tmp_path / ".belle/tensorboard/m")
    every = losses(straight)
    means = [(end, pytest.approx(sum(every[end - 50 : end]) / 50, rel=1e-6)) for end in (50, 100, 150, 200)]
    assert found["train/loss"] == [*means, (240, pytest.approx(sum(every[200:]) / 40, rel=1e-6))]
    for tag in ("train/learning_rate", "train/grad_norm", "train/tokens_per_second", "train/memory_gb"):
        assert [at for at, _ in found[tag]] == [50, 100, 150, 200, 240], tag
    took = json.loads((tmp_path / ".belle/runs/m.json").read_text(encoding="utf-8"))
    assert took["interrupted"] == (1 if dies_at >= SETTINGS["save_steps"] else 0)
    assert took["step"] == 240


def test_tokens_that_a_kill_undid_are_not_counted_twice(world, tiny_base, tmp_path, watched, monkeypatch):
    counts = {}
    for name, dies_at in (("straight", None), ("killed", 41)):
        if dies_at:
            with watched(name, tmp_path):
                train_until(dies_at, monkeypatch, world, tiny_base, tmp_path / name, num_train_epochs=5.0)
        with watched(name, tmp_path):
            train(world, tiny_base, tmp_path / name, num_train_epochs=5.0)
        counts[name] = json.loads((tmp_path / f".belle/runs/{name}.json").read_text(encoding="utf-8"))["tokens"]
    assert counts["killed"] == counts["straight"]


def test_another_training_of_the_name_replaces_the_curves(world, tiny_base, tmp_path, watched):
    for epochs, last in ((10.0, 120), (5.0, 60)):
        with watched("m", tmp_path):
            train(world, tiny_base, tmp_path / "m", num_train_epochs=epochs)
        assert points(tmp_path / ".belle/tensorboard/m")["train/loss"][-1][0] == last


def test_pretraining_and_base_are_looked_on_at(world, tiny_base, tmp_path, watched):
    from belle.train.pretrain import pretrain

    with watched("p", tmp_path):
        pretrain(base=tiny_base, texts=[world / "corpus.txt"], out=tmp_path / "p", checkpoints=tmp_path / "c",
                 tokens=tmp_path / "tokens", **PRETRAIN)  # fmt: skip
    took = json.loads((tmp_path / ".belle/runs/p.json").read_text(encoding="utf-8"))
    assert took["tokens"] == PRETRAIN["steps"] * PRETRAIN["per_device_train_batch_size"] * PRETRAIN["block_size"]
    assert [at for at, _ in points(tmp_path / ".belle/tensorboard/p")["train/loss"]] == [12]


def test_without_a_place_to_write_the_training_goes_on(world, tiny_base, straight, tmp_path, watched, capsys):
    (tmp_path / ".belle").write_text("a file where a folder is meant", encoding="utf-8")
    with watched("m", tmp_path):
        train(world, tiny_base, tmp_path / "m")
    assert contents(tmp_path / "m") == contents(straight)
    assert "goes on without it" in capsys.readouterr().err


def test_without_tensorboard_the_training_says_so(world, tiny_base, tmp_path, watched, monkeypatch, capsys):
    monkeypatch.setattr("belle.train.tracking.find_spec", lambda name: None)
    with watched("m", tmp_path) as made:
        train(world, tiny_base, tmp_path / "m", num_train_epochs=1.0)
    assert "the package tensorboard is not installed" in capsys.readouterr().err
    assert "logdir" not in made[0].last_words()
    assert (tmp_path / ".belle/runs/m.json").is_file()


def test_a_loop_of_its_own_is_looked_on_at(tmp_path):
    from belle.train.tracking import Tracking

    look = Tracking("ppo", tmp_path)
    look.begin(0, 4)
    for step in (1, 2, 3):
        look.step(step, {"score": step / 10}, 100)
        if step == 2:
            look.saved(step)
    again = Tracking("ppo", tmp_path)  # killed after step 3, whose state was not safe
    again.begin(2, 4)
    for step in (3, 4):
        again.step(step, {"score": step / 10}, 100)
    again.saved(4)
    again.end()
    assert points(tmp_path / ".belle/tensorboard/ppo")["train/score"] == [
        (step, pytest.approx(step / 10)) for step in (1, 2, 3, 4)
    ]
    took = json.loads((tmp_path / ".belle/runs/ppo.json").read_text(encoding="utf-8"))
    assert (took["tokens"], took["interrupted"], took["step"]) == (400, 1, 4)


def test_peaks_are_known_by_the_names_that_drivers_give():
    from belle.train.speed import peak_flops

    for name, peak in {
        "NVIDIA A100-SXM4-80GB": 312e12, "NVIDIA A100-PCIE-40GB": 312e12, "NVIDIA H100 80GB HBM3": 989e12,
        "NVIDIA H100 PCIe": 756e12, "NVIDIA H200": 989e12, "Tesla V100-SXM2-32GB": 125e12, "Tesla T4": 65e12,
        "Tesla V100-PCIE-16GB": 112e12, "NVIDIA GeForce RTX 4090": 165e12, "NVIDIA L40S": 362e12, "NVIDIA L40": 181e12,
        "NVIDIA A10": 125e12, "NVIDIA A10G": 70e12, "NVIDIA GeForce RTX 4090 Ti": 165e12,
        "NVIDIA B200": None, "CPU (some processor)": None,
    }.items():  # fmt: skip
        assert peak_flops(name) == peak, name


def test_flops_a_token_are_six_a_weight_in_full_and_four_a_frozen_one(tiny_base):
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    from belle.train import lora
    from belle.train.speed import flops_a_token

    model = AutoModelForCausalLM.from_pretrained(tiny_base)  # tied
    count = model.num_parameters()
    assert flops_a_token(model) == 6 * count
    adapted = lora.attach(model, lora.Adapters(8, 16, 0.0, ("q_proj", "v_proj"), ()))
    added = sum(item.numel() for item in adapted.parameters() if item.requires_grad)
    assert flops_a_token(adapted) == 4 * count + 6 * added
    shape = {"vocab_size": 50, "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    untied = LlamaForCausalLM(LlamaConfig(**shape, num_attention_heads=2, tie_word_embeddings=False))
    assert flops_a_token(untied) == 6 * (untied.num_parameters() - 50 * 8)


def test_mfu_is_work_done_by_work_possible(tmp_path):
    from belle.train.tracking import Tracking

    look = Tracking("m", tmp_path)
    look.begin(0, 1)
    look.work = (6 * 7_000_000_000, 8 * 312e12)
    look.took.seconds = 10.0
    look.close_step(1, 200_000)
    look.took.seconds = 10.0
    look.saved(1)
    assert look.took.mfu == pytest.approx(42e9 * 20_000 / (8 * 312e12))
    assert "MFU 33.7%" in look.took.line()


def test_a_folder_of_an_older_version_is_passed_over(tmp_path):
    from belle.train.tracking import Tracking, read

    path = tmp_path / ".belle/runs/m.json"
    path.parent.mkdir(parents=True)
    for text in ("", "{", "[]", '{"name": "m"}'):
        path.write_text(text, encoding="utf-8")
        assert read(path) is None
        look = Tracking("m", tmp_path)
        look.begin(3, 4)
        assert look.took.tokens == 0
        look.writer.close()


def test_no_fingerprint_reaches_what_looks_on_and_a_stage_may_load_it(project):
    """A new figure in a log, or another tensorboard, retrains nothing; `belle verify` takes its modules for known."""
    from belle.build.code import Code
    from belle.build.loadable import may_load
    from belle.cli import TRAINING

    code = Code(project / "src", project / "requirements.lock")
    for stage in sorted(TRAINING):
        modules, packages = code.reached(("belle.stages", stage))
        assert "belle.train.watching" in modules, stage
        assert not {"belle.train.tracking", "belle.train.speed", "belle.cli"} & set(modules), stage
        assert "tensorboard" not in packages, stage
        assert {"belle.train.tracking", "belle.train.speed", "belle.train.estimate"} <= may_load(code, stage), stage
