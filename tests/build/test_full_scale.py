"""Full-scale targets are planned anywhere, and refused where they cannot be built."""

from trials.worlds import World


def test_the_whole_plan_is_printed(checkout):
    text = World(checkout).run("snakemake", "-n", "models/belle-7b-gptq").stdout
    for rule in ("fetch_model", "fetch_dataset", "clean", "sft", "gptq"):
        assert f"rule {rule}:" in text
    assert "gpu_memory_gb" in text


def test_a_laptop_stops_before_any_work_with_everything_missing(checkout):
    world = World(checkout)
    ended = world.run("snakemake", "models/belle-7b-gptq", check=False, HF_HUB_OFFLINE="1", OPENAI_API_KEY="")
    assert ended.returncode == 1
    assert "nothing was started" in ended.stdout
    for word in ("GPU memory", "disk", "base weights", "published data", "API key"):
        assert f"  {word}: needs " in ended.stdout, word
    assert "Traceback" not in ended.stdout
    assert world.history() == []
    assert not (checkout / "models").exists()


def test_the_twin_asks_for_a_key(checkout):
    ended = World(checkout).run("snakemake", "models/belle-7b-anew", check=False, HF_HUB_OFFLINE="1", OPENAI_API_KEY="")
    assert "OPENAI_API_KEY for generate" in ended.stdout


def test_the_published_settings_reach_the_command(checkout):
    text = World(checkout).run("snakemake", "-n", "-p", "models/belle-7b").stdout
    for words in (
        "--per_device_train_batch_size 2 --gradient_accumulation_steps 4 --num_train_epochs 2",
        "--learning_rate 8e-06",
        "--deepspeed profiles/deepspeed/zero2.json",
        "belle fetch_dataset BelleGroup/train_2M_CN",
        "belle fetch_model bigscience/bloomz-7b1-mt",
    ):
        assert words in text


def test_a_release_is_planned_and_its_missing_files_are_named(checkout):
    """Neither the encrypted folder nor LLaMA's original file comes with a checkout: a person brings them."""
    world, target = World(checkout), "models/belle-llama-13b-2m-released"
    plan = world.run("snakemake", "-n", "-p", target).stdout
    assert "rule decrypt:" in plan
    assert "--key_sha256 700df0d3013b703a806d2ae7f1bfb8e59814e3d06ae78be0c66368a50059f33d" in plan
    ended = world.run("snakemake", target, check=False)
    assert ended.returncode == 1
    assert "nothing was started" in ended.stdout
    assert (
        "released weights: needs downloads/BELLE-LLaMA-13B-2M-enc for models/belle-llama-13b-2m-released"
        in ended.stdout
    )
    assert (
        "`hf download BelleGroup/BELLE-LLaMA-13B-2M-enc --local-dir downloads/BELLE-LLaMA-13B-2M-enc`" in ended.stdout
    )
    assert "key: needs downloads/LLaMA-7B/consolidated.00.pth" in ended.stdout
    assert "LLaMA-7B's original consolidated.00.pth: 13,476,939,516 bytes" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert world.history() == []


def test_a_wrong_key_of_a_declared_release_is_refused_by_the_build(checkout):
    world = World(checkout)
    for folder in ("downloads/BELLE-LLaMA-7B-2M-enc", "downloads/LLaMA-7B"):
        (world.folder / folder).mkdir(parents=True)
    (world.folder / "downloads/BELLE-LLaMA-7B-2M-enc/config.json.enc").write_bytes(bytes(40))
    (world.folder / "downloads/LLaMA-7B/consolidated.00.pth").write_bytes(b"not the key")
    ended = world.run("snakemake", "models/belle-llama-7b-2m-released", check=False)
    assert ended.returncode == 1
    assert "wrong key: 11 bytes, and LLaMA-7B's original consolidated.00.pth has 13,476,939,516" in ended.stdout
    assert "Traceback" not in ended.stdout
    assert not (world.folder / "models/belle-llama-7b-2m-released").exists()
