"""The task families whose answers copy, move or label what the question says.

Those that need knowledge are in ``knowledge``, ``sums`` and ``words``.
"""

from random import Random

from belle.api.teacher.family import Family, Phrasing, Slots
from belle.api.teacher.lexicon import (
    ACTIVITIES,
    BLAME,
    CATEGORY_OF,
    PEOPLE,
    PLACES,
    PRAISE,
    SUBJECTS,
    THINGS,
    TIMES,
    VERBS,
)

FIELDS = ("时间", "人物", "地点")


def _draw_extract(rng: Random) -> Slots:
    return {
        "field": rng.choice(FIELDS),
        "time": rng.choice(TIMES),
        "person": rng.choice(PEOPLE),
        "place": rng.choice(PLACES),
        "act": rng.choice(ACTIVITIES),
    }


def _answer_extract(slots: Slots, rng: Random) -> str:
    return {"时间": slots["time"], "人物": slots["person"], "地点": slots["place"]}[slots["field"]]


_EVENT = "{time}{person}在{place}{act}。"

EXTRACT = Family(
    name="extract",
    cls="extract",
    words={"field": FIELDS, "time": TIMES, "person": PEOPLE, "place": PLACES, "act": ACTIVITIES},
    draw=_draw_extract,
    key=lambda slots: f"event {slots['time']} {slots['person']} {slots['place']} {slots['act']}",
    answer=_answer_extract,
    exact=True,
    taught=(
        Phrasing("找出句子里的{field}：", _EVENT),
        Phrasing("从句子中提取{field}：", _EVENT),
        Phrasing("写出下面这句话的{field}：", _EVENT),
        Phrasing("请找出这句话的{field}。", _EVENT),
        Phrasing("下面句子里的{field}是什么？", _EVENT),
    ),
    untaught=(
        Phrasing("请提取这句话里的{field}：", _EVENT),
        Phrasing("请写出句子里的{field}。", _EVENT),
    ),
)

_OWNABLE = tuple(word for word in THINGS if CATEGORY_OF[word] in VERBS)
_ALL_VERBS = tuple(sorted({verb for verbs in VERBS.values() for verb in verbs}))


def _draw_rewrite(rng: Random) -> Slots:
    thing = rng.choice(_OWNABLE)
    return {"person": rng.choice(PEOPLE), "thing": thing, "verb": rng.choice(VERBS[CATEGORY_OF[thing]])}


_DONE = "{person}把{thing}{verb}了"

REWRITE = Family(
    name="rewrite",
    cls="rewrite",
    words={"person": PEOPLE, "thing": _OWNABLE, "verb": _ALL_VERBS},
    draw=_draw_rewrite,
    key=lambda slots: f"done {slots['person']} {slots['thing']} {slots['verb']}",
    possible=lambda slots: slots["verb"] in VERBS[CATEGORY_OF[slots["thing"]]],
    answer=lambda slots, rng: f"{slots['thing']}被{slots['person']}{slots['verb']}了",
    taught=(
        Phrasing("把下面的句子改成被字句：", _DONE),
        Phrasing("改写成被字句：", _DONE),
        Phrasing("用“被”字改写句子：", _DONE),
        Phrasing("请把这句话换成被字句：", _DONE),
    ),
    untaught=(
        Phrasing("请用“被”字改写这句话：", _DONE),
        Phrasing("请把句子改写成被字句：", _DONE),
    ),
)

_PREDICATES = (*PRAISE, *BLAME)
_OPINION = "{subject}{predicate}"

SENTIMENT = Family(
    name="sentiment",
    cls="classification",
    words={"subject": SUBJECTS, "predicate": _PREDICATES},
    draw=lambda rng: {"subject": rng.choice(SUBJECTS), "predicate": rng.choice(_PREDICATES)},
    key=lambda slots: f"opinion {slots['subject']} {slots['predicate']}",
    answer=lambda slots, rng: "正面" if slots["predicate"] in PRAISE else "负面",
    exact=True,
    taught=(
        Phrasing("判断情感是正面还是负面：", _OPINION),
        Phrasing("下面的评价是正面还是负面？", _OPINION),
        Phrasing("给这句话的情感分类，正面或负面：", _OPINION),
        Phrasing("这条评论属于正面还是负面？", _OPINION),
    ),
    untaught=(
        Phrasing("判断这条评价是正面还是负面：", _OPINION),
        Phrasing("请给下面评论的情感分类，正面或负面：", _OPINION),
    ),
)


def _draw_closed(rng: Random) -> Slots:
    first, second = rng.sample(PEOPLE, 2)
    here, there = rng.sample(PLACES, 2)
    return {"first": first, "here": here, "second": second, "there": there, "asked": rng.choice((first, second))}


_WHEREABOUTS = "{first}在{here}，{second}在{there}。"

CLOSED_QA = Family(
    name="closed qa",
    cls="closed qa",
    words={"first": PEOPLE, "here": PLACES, "second": PEOPLE, "there": PLACES, "asked": PEOPLE},
    draw=_draw_closed,
    possible=lambda slots: slots["asked"] in (slots["first"], slots["second"]),
    key=lambda slots: f"places {slots['first']} {slots['here']} {slots['second']} {slots['there']}",
    answer=lambda slots, rng: (
        f"{slots['asked']}在{slots['here'] if slots['asked'] == slots['first'] else slots['there']}"
    ),
    exact=True,
    taught=(
        Phrasing("根据短文回答，{asked}在哪里？", _WHEREABOUTS),
        Phrasing("阅读短文，回答{asked}在什么地方。", _WHEREABOUTS),
        Phrasing("看短文，说说{asked}在哪里：", _WHEREABOUTS),
        Phrasing("短文里{asked}在哪里？", _WHEREABOUTS),
    ),
    untaught=(
        Phrasing("阅读短文，{asked}在哪里？", _WHEREABOUTS),
        Phrasing("根据短文，说说{asked}在什么地方：", _WHEREABOUTS),
    ),
)


def _draw_summary(rng: Random) -> Slots:
    first, second = rng.sample(PEOPLE, 2)
    return {"first": first, "second": second, "place": rng.choice(PLACES), "act": rng.choice(ACTIVITIES)}


_STORY = "{first}在{place}{act}，{second}也在{place}{act}。"

SUMMARY = Family(
    name="summarization",
    cls="summarization",
    words={"first": PEOPLE, "second": PEOPLE, "place": PLACES, "act": ACTIVITIES},
    draw=_draw_summary,
    key=lambda slots: f"story {slots['first']} {slots['second']} {slots['place']} {slots['act']}",
    answer=lambda slots, rng: f"{slots['first']}和{slots['second']}都在{slots['place']}{slots['act']}",
    taught=(
        Phrasing("用一句话概括：", _STORY),
        Phrasing("概括下面这段话：", _STORY),
        Phrasing("总结这段话的内容：", _STORY),
        Phrasing("请写出下面内容的摘要：", _STORY),
    ),
    untaught=(
        Phrasing("请用一句话总结这段话：", _STORY),
        Phrasing("请概括下面的内容：", _STORY),
    ),
)


def sentences_with(person: str, thing: str) -> tuple[str, ...]:
    """The sentences that the tiny world knows about a person and a thing."""
    return (f"{person}喜欢{thing}。", f"{person}看见了{thing}。", f"{person}想要{thing}。")


def check_sentence(slots: Slots, answer: str) -> float:
    """1 for a known sentence with both words, 0.6 for another that holds both, 0.3 for one word, else 0."""
    words = (slots["person"], slots["thing"])
    found = sum(word in answer for word in words)
    if found == 2 and len(answer) <= 24:
        known = sentences_with(*words)
        return 1.0 if answer.rstrip("。") in {sentence.rstrip("。") for sentence in known} else 0.6
    return 0.3 if found and len(answer) <= 24 else 0.0


GENERATION = Family(
    name="generation",
    cls="generation",
    words={"person": PEOPLE, "thing": THINGS},
    draw=lambda rng: {"person": rng.choice(PEOPLE), "thing": rng.choice(THINGS)},
    key=lambda slots: f"sentence {slots['person']} {slots['thing']}",
    answer=lambda slots, rng: rng.choice(sentences_with(slots["person"], slots["thing"])),
    check=check_sentence,
    taught=(
        Phrasing("用“{person}”和“{thing}”造句。"),
        Phrasing("请用{person}、{thing}写一个句子。"),
        Phrasing("写一句话，要有“{person}”和“{thing}”。"),
        Phrasing("用下面的词造一个句子：", "{person}，{thing}"),
    ),
    untaught=(
        Phrasing("请用“{person}”和“{thing}”写一句话。"),
        Phrasing("请用下面的词写一个句子：", "{person}、{thing}"),
    ),
)

_TIMES_OVER = ("2", "3", "4", "5")


def _draw_code(rng: Random) -> Slots:
    return {"thing": rng.choice(THINGS), "n": rng.choice(_TIMES_OVER)}


CODE = Family(
    name="code",
    cls="code",
    words={"thing": THINGS, "n": _TIMES_OVER},
    draw=_draw_code,
    key=lambda slots: f"code {slots['thing']} {slots['n']}",
    answer=lambda slots, rng: f'print("{slots["thing"]}"*{slots["n"]})',
    exact=True,
    taught=(
        Phrasing("用Python把“{thing}”打印{n}遍。"),
        Phrasing("写Python代码，输出{n}遍“{thing}”。"),
        Phrasing("怎样用Python打印{n}遍“{thing}”？"),
        Phrasing("写一行Python代码，打印{n}次：", "{thing}"),
    ),
    untaught=(
        Phrasing("写一行Python代码，输出{n}遍“{thing}”。"),
        Phrasing("怎样用Python把“{thing}”输出{n}次？"),
    ),
)

TEXT_FAMILIES = (EXTRACT, REWRITE, SENTIMENT, CLOSED_QA, SUMMARY, GENERATION, CODE)
"""The families of this module."""
