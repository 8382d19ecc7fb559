"""The task families: what they ask, what is held out, and that questions are found again."""

from random import Random

import pytest

from belle.api.teacher.family import draw_slots, draw_task, held_out
from belle.api.teacher.selfinstruct import WELL_KNOWN
from belle.api.teacher.tasks import CLASSES, FAMILIES, draw_taught, families_of, find_task
from belle.records import INSTRUCTION_CLASSES


def test_eleven_classes_of_the_twelve():
    assert set(INSTRUCTION_CLASSES) - set(CLASSES) == {"cot"}
    assert len(CLASSES) == 11
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_question_is_found_again_with_its_slots(family):
    rng = Random(1)
    for untaught in (False, True):
        for from_held_out in (False, True):
            for _ in range(30):
                task = draw_task(family, rng, from_held_out=from_held_out, untaught=untaught)
                found = find_task(task.instruction + task.input)
                assert found is not None
                assert found[0] is family
                slots = found[1]
                assert held_out(family.key(slots)) == from_held_out
                if family.check is None:
                    assert family.answer(slots, rng) == task.output
                else:
                    assert family.check(slots, task.output) == 1


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_rows_are_short_and_pass_belles_length_rules(family):
    rng = Random(2)
    for _ in range(100):
        task = draw_task(family, rng, untaught=bool(rng.getrandbits(1)))
        assert len(task.instruction) >= 4
        assert len(task.instruction + task.input) <= 40
        assert 1 <= len(task.output) <= 16


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_no_phrasing_is_both_taught_and_untaught(family):
    assert not set(family.taught) & set(family.untaught)
    assert len(family.taught) >= 3
    assert len(family.untaught) >= 2


def test_the_taught_rows_are_many_and_of_equal_shares():
    rng = Random(3)
    rows = [draw_taught(rng) for _ in range(11_000)]
    for cls in CLASSES:
        assert 850 < sum(row.cls == cls for row in rows) < 1_150
    assert len({(row.instruction, row.input) for row in rows}) > 8_000


def test_an_unknown_question_is_of_no_family():
    assert find_task("今天股市怎么样？") is None
    assert find_task("法国的首都是哪里？然后呢？") is None
    assert find_task("除了桌子，还有哪三种水果？") is None
    assert find_task("9和9哪个大？") is None
    assert find_task("短文里小明在哪里？小红在公园，小刚在学校。") is None
    assert find_task("改写成被字句：小明把苹果擦了") is None


def test_well_known_rows_are_right_and_not_held_out():
    for instruction, given, output in WELL_KNOWN:
        found = find_task(instruction + given)
        assert found is not None
        assert not held_out(found[0].key(found[1]))
        assert found[0].answer(found[1], Random(0)) == output


def test_every_family_has_both_kinds_of_combinations():
    for cls in CLASSES:
        for family in families_of(cls):
            taught, kept = draw_slots(family, Random(0)), draw_slots(family, Random(0), from_held_out=True)
            assert not held_out(family.key(taught))
            assert held_out(family.key(kept))
