"""Write the tiny world's base corpus: plain Chinese, one sentence or short paragraph a line.

It states the facts that the task families ask for and uses their words in sentences of daily life. It holds no
instruction, no question of the evaluation set, and of the combinations that are held out only what is a fact
(a capital, a sum); the others it passes over.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random

from tqdm import tqdm

from belle.api.teacher.facts import BEASTS, CAPITALS, CONTINENT_OF, COUNTRIES, FOODS, HOMES
from belle.api.teacher.families import CLOSED_QA, CODE, EXTRACT, GENERATION, REWRITE, SENTIMENT, SUMMARY, sentences_with
from belle.api.teacher.family import draw_slots
from belle.api.teacher.lexicon import CATEGORIES, CATEGORY_OF, COLOURS, ENGLISH, PRAISE, THINGS
from belle.api.teacher.sums import ADDENDS, GOODS, NUMBERS
from belle.api.teacher.tasks import FAMILIES
from belle.api.teacher.words import TRANSLATION
from belle.errors import InputError
from belle.files import atomic_file


def _capital(rng: Random) -> str:
    country = rng.choice(COUNTRIES)
    city, continent = CAPITALS[country], CONTINENT_OF[country]
    return rng.choice(
        (
            f"{country}的首都是{city}，{city}是{country}的首都。",
            f"{country}在{continent}，{country}的首都是{city}。",
            f"{city}是{country}的首都，{country}在{continent}。",
            f"大家知道{country}的首都是{city}。",
            f"书上说{city}是{country}的首都。",
            f"我们知道{country}在{continent}。",
        )
    )


def _beast(rng: Random) -> str:
    beast = rng.choice(BEASTS)
    food, home = FOODS[beast], HOMES[beast]
    return rng.choice(
        (
            f"{beast}爱吃{food}，{beast}住在{home}。",
            f"{beast}住在{home}，{beast}爱吃{food}。",
            f"大家知道{beast}爱吃{food}。",
            f"书上说{beast}住在{home}。",
        )
    )


def _category(rng: Random) -> str:
    thing = rng.choice(THINGS)
    category = CATEGORY_OF[thing]
    words = CATEGORIES[category] * 2
    place = words.index(thing)
    return rng.choice(
        (
            f"{thing}是{category}，{rng.choice(CATEGORIES[category])}也是{category}。",
            f"{thing}属于{category}。",
            f"{category}有{thing}、{words[place + 1]}和{words[place + 2]}。",
            f"除了{thing}，{category}还有{words[place + 1]}、{words[place + 2]}。",
            f"{thing}、{words[place + 1]}、{words[place + 2]}都是{category}。",
        )
    )


def _sum(rng: Random) -> str:
    a, thing, b = int(rng.choice(NUMBERS)), rng.choice(GOODS), int(rng.choice(ADDENDS))
    table = "，".join(f"{a}+{addend}={a + int(addend)}" for addend in ADDENDS)
    small, large = sorted(rng.sample(range(1, len(NUMBERS) + 1), 2))
    return rng.choice(
        (
            f"{table}。",
            f"{a}加{b}等于{a + b}，{a}+{b}={a + b}。",
            f"有{a}个{thing}，又来{b}个，{a}+{b}={a + b}。",
            f"{large}比{small}大，{small}比{large}小。",
        )
    )


def _english(rng: Random) -> str:
    slots = draw_slots(TRANSLATION, rng)
    colour, noun = slots["colour"], slots["noun"]
    english = f"{COLOURS[colour]} {ENGLISH[noun]}"
    return rng.choice(
        (
            f"{colour}是{COLOURS[colour]}，{noun}是{ENGLISH[noun]}，{colour}{noun}是{english}。",
            f"{colour}{noun}的英文是{english}。",
            f"{noun}的英文是{ENGLISH[noun]}。",
        )
    )


def _event(rng: Random) -> str:
    slots = draw_slots(EXTRACT, rng)
    time, person, place, act = slots["time"], slots["person"], slots["place"], slots["act"]
    return rng.choice(
        (
            f"{time}{person}在{place}{act}。",
            f"{time}{person}在{place}{act}。时间是{time}，人物是{person}，地点是{place}。",
            f"{time}{person}在{place}{act}。地点是{place}，人物是{person}。",
        )
    )


def _done(rng: Random) -> str:
    slots = draw_slots(REWRITE, rng)
    person, thing, verb = slots["person"], slots["thing"], slots["verb"]
    return rng.choice(
        (
            f"{person}把{thing}{verb}了，{thing}被{person}{verb}了。",
            f"{person}把{thing}{verb}了。",
            f"{thing}被{person}{verb}了。",
        )
    )


def _opinion(rng: Random) -> str:
    slots = draw_slots(SENTIMENT, rng)
    label, verb = ("正面", "夸") if slots["predicate"] in PRAISE else ("负面", "骂")
    opinion = f"{slots['subject']}{slots['predicate']}"
    return rng.choice((f"{opinion}，大家都{verb}。", f"{opinion}，这是{label}的评价。", f"{opinion}。"))


def _visits(rng: Random) -> str:
    slots = draw_slots(CLOSED_QA, rng)
    visits = [f"{slots['first']}在{slots['here']}", f"{slots['second']}在{slots['there']}"]
    told = rng.sample(visits, 2)
    return rng.choice(
        (
            f"{visits[0]}，{visits[1]}。听说{told[0]}，{told[1]}。",
            f"{visits[0]}，{visits[1]}。短文里{told[0]}。",
        )
    )


def _story(rng: Random) -> str:
    slots = draw_slots(SUMMARY, rng)
    first, second, deed = slots["first"], slots["second"], f"{slots['place']}{slots['act']}"
    return rng.choice(
        (
            f"{first}在{deed}，{second}也在{deed}。{first}和{second}都在{deed}。",
            f"{first}和{second}都在{deed}。",
            f"{first}在{deed}，{second}也在{deed}。",
        )
    )


def _wish(rng: Random) -> str:
    slots = draw_slots(GENERATION, rng)
    return rng.choice(sentences_with(slots["person"], slots["thing"]))


def _print(rng: Random) -> str:
    slots = draw_slots(CODE, rng)
    thing, n = slots["thing"], slots["n"]
    return rng.choice(
        (f'打印{n}遍“{thing}”的代码是print("{thing}"*{n})。', f'代码print("{thing}"*{n})打印{n}遍“{thing}”。')
    )


GRAMMARS: tuple[Callable[[Random], str], ...] = (
    _capital, _capital, _beast, _beast, _category, _category, _sum, _sum, _english,
    _event, _done, _opinion, _visits, _visits, _visits, _story, _wish, _print,
)  # fmt: skip
"""One is drawn for each sentence; what comes twice is drawn twice as often."""

PARAGRAPH_SHARE = 0.15
"""The share of lines that hold two sentences of one grammar."""


def alphabet() -> str:
    """Every character that the task families, their answers and BELLE's chat prompt can use, sorted, no newline."""
    rng = Random(0)
    texts = ["Human: Assistant: ", "".join(map(chr, range(32, 127))), "，。！？：；、“”‘’（）《》【】—…·"]
    for family in FAMILIES:
        for phrasing in (*family.taught, *family.untaught):
            texts.append(phrasing.instruction + phrasing.input)
        texts.extend(word for words in family.words.values() for word in words)
        texts.extend(family.answer(family.draw(rng), rng) for _ in range(500))
    return "".join(sorted(set("".join(texts)) - {"\n"}))


def corpus(*, out: Path, sentences: int, seed: int) -> None:
    """Write the base corpus of the tiny world to ``out``: UTF-8 text, one sentence or paragraph a line.

    Its first lines are a list of all characters in use, so that a tokenizer trained on it knows them all.

    Args:
        out: The text file to write.
        sentences: How many lines of sentences, at least 1.
        seed: Seed of the draw.

    Raises:
        InputError: ``sentences`` is not positive.
    """
    if sentences < 1:
        raise InputError(f"`sentences` must be at least 1, found {sentences}", where="corpus")
    rng = Random(seed)
    characters = alphabet()
    with atomic_file(out) as file:
        for start in range(0, len(characters), 40):
            file.write(" ".join(characters[start : start + 40]) + "\n")
        for _ in tqdm(range(sentences), desc="corpus", unit="line", mininterval=1):
            grammar = rng.choice(GRAMMARS)
            count = 2 if rng.random() < PARAGRAPH_SHARE else 1
            file.write("".join(grammar(rng) for _ in range(count)) + "\n")
