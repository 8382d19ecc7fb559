"""What ROUGE-L compares of a Chinese text."""

import re

_TOKEN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|[a-z0-9]+")


def tokens(text: str) -> list[str]:
    """Split ``text`` into ROUGE-L tokens: after lower-casing, each ideograph and each run of ``[a-z0-9]``.

    Ideographs are U+3400–U+9FFF and U+F900–U+FAFF; everything else separates.
    """
    return _TOKEN.findall(text.lower())
