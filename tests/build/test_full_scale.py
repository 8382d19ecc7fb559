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
