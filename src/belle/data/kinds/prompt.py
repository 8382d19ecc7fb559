"""The prompts of the kinds, and the messages of a request made of one."""

from pathlib import Path

from belle.api.brief import Brief, render
from belle.data.threads import Messages
from belle.files import require_file

SYSTEM = "你负责编写中文训练数据。只按要求的格式写，不寒暄，不解释。"
"""The system message of every request that a prompt makes."""


def load_prompts(folder: Path, *names: str) -> dict[str, str]:
    """The prompts ``<name>.txt`` of a folder, by name.

    Raises:
        InputError: one of them is not there.
    """
    return {
        name: require_file(Path(folder) / f"{name}.txt", f"the prompt {name}").read_text(encoding="utf-8")
        for name in names
    }


def messages(prompt: str, brief: Brief) -> Messages:
    """A request: the prompt and what is asked for by it."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": render(prompt, brief)}]
