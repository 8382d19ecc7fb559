"""Real processes, killed at random steps; ``python -m trials.training`` does the same with 20 kills of each kind."""

import pytest

from trials import training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("training")
    training.world(made)
    return made


@pytest.mark.parametrize(
    ("kind", "kills"), [("full", 1), ("lora", 1), pytest.param("pretrain", 2, marks=pytest.mark.thorough)]
)
def test_a_run_killed_at_random_steps_has_the_bytes_and_the_curve_of_a_straight_one(folder, kind, kills):
    ended = training.trial(folder, kind, kills, seed=1)
    assert len(ended.killed) == kills
    assert ended.different == ()
    assert ended.steps > 100
    assert ended.repeated <= 2 * training.TRAINING["save_steps"], "it went on from its checkpoints"
