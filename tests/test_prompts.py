import jinja2
import pytest

from belle.errors import InputError
from belle.prompts import IGNORE, PROMPT_FORMATS, chat_template, encode, prompt
from belle.records import Turn

EOS = 2


class Characters:
    """One token per character, its code point; 2 is EOS."""

    eos_token_id = EOS

    def encode(self, text, *, add_special_tokens):
        assert not add_special_tokens, "SFT v2 has no BOS"
        return [ord(character) for character in text]


def table(*parts):
    """Build (input_ids, labels) from ('-' not trained | '+' trained, text or EOS)."""
    input_ids, labels = [], []
    for sign, part in parts:
        ids = [EOS] if part == EOS else [ord(character) for character in part]
        input_ids += ids
        labels += ids if sign == "+" else [IGNORE] * len(ids)
    return input_ids, labels


def test_one_turn_is_encoded_as_sft_v2_does():
    found = encode(Characters(), [Turn("human", "你好"), Turn("assistant", "好。")], 100)
    assert found == table(("-", "Human: \n你好\n\nAssistant: \n"), ("+", "好。"), ("+", EOS))


def test_many_turns_train_every_answer_and_its_eos():
    turns = [Turn("human", "一"), Turn("assistant", "二"), Turn("human", "三"), Turn("assistant", "四")]
    assert encode(Characters(), turns, 100) == table(
        ("-", "Human: \n一\n\nAssistant: \n"), ("+", "二"), ("+", EOS),
        ("-", "Human: \n三\n\nAssistant: \n"), ("+", "四"), ("+", EOS),
    )  # fmt: skip


@pytest.mark.parametrize("cutoff_len", [1, 24, 25, 26, 27, 1000])
def test_the_right_end_is_cut_off(cutoff_len):
    turns = [Turn("human", "你好"), Turn("assistant", "好。")]
    whole = encode(Characters(), turns, 100)
    assert len(whole[0]) == 27
    assert encode(Characters(), turns, cutoff_len) == (whole[0][:cutoff_len], whole[1][:cutoff_len])


def render(template, messages):
    def raise_exception(message):
        raise ValueError(message)

    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    return environment.from_string(template).render(
        {"messages": messages, "eos_token": "\x02", "add_generation_prompt": True}
    )


@pytest.mark.parametrize("name", PROMPT_FORMATS)
@pytest.mark.parametrize("texts", [["你好 "], ["a'b\\n\n", "好\n", "{x} {{ y }}"]])
def test_a_chat_template_renders_what_is_trained(name, texts):
    roles = [("human", "user"), ("assistant", "assistant")]
    turns = [Turn(roles[at % 2][0], text) for at, text in enumerate(texts)]
    messages = [{"role": roles[at % 2][1], "content": text} for at, text in enumerate(texts)]
    rendered = render(chat_template(name), messages)
    assert [ord(character) for character in rendered] == encode(Characters(), turns, 10_000, name)[0]


def test_the_formats_to_the_character():
    assert {name: prompt("问", name) for name in PROMPT_FORMATS} == {
        "belle": "Human: \n问\n\nAssistant: \n",
        "belle-zero-inference": "Human: \n问\n\nAssistant:\n",
        "deepspeed-chat": "Human: 问\n\nAssistant: ",
        "belle-gptq": "Human: 问\n\nAssistant:",
        "alpaca": "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\n问\n\n### Response: ",
        "none": "问",
    }


def test_an_unknown_role_is_refused_by_the_template():
    with pytest.raises(ValueError, match="found system"):
        render(chat_template(), [{"role": "system", "content": "x"}])


def test_an_unknown_format_is_named_with_the_known_ones():
    with pytest.raises(InputError, match="'vicuna'") as caught:
        prompt("x", "vicuna")
    assert "alpaca" in str(caught.value)
