"""The task families that ask for the tiny world's facts, from either side.

What is asked here stands in the base corpus as a statement. A held-out question never stands in training data,
though the same fact may be asked for there from its other side.
"""

from belle.api.teacher.facts import (
    BEASTS,
    CAPITALS,
    CITIES,
    CONTINENT_OF,
    COUNTRIES,
    COUNTRY_OF,
    DWELLER_OF,
    EATEN,
    EATER_OF,
    FOODS,
    HOMES,
    LIVED_IN,
)
from belle.api.teacher.family import Family, Phrasing

CAPITAL = Family(
    name="capital",
    cls="open qa",
    words={"country": COUNTRIES},
    draw=lambda rng: {"country": rng.choice(COUNTRIES)},
    key=lambda slots: f"capital {slots['country']}",
    answer=lambda slots, rng: f"{slots['country']}的首都是{CAPITALS[slots['country']]}",
    exact=True,
    taught=(
        Phrasing("{country}的首都是哪里？"),
        Phrasing("哪座城市是{country}的首都？"),
        Phrasing("请问{country}的首都叫什么？"),
        Phrasing("说出{country}的首都。"),
        Phrasing("你知道{country}的首都吗？"),
        Phrasing("回答问题：", "{country}的首都是哪个城市？"),
        Phrasing("{country}以哪座城市为首都？"),
    ),
    untaught=(
        Phrasing("请说出{country}的首都是哪里。"),
        Phrasing("{country}的首都叫什么？"),
    ),
)

COUNTRY = Family(
    name="country",
    cls="open qa",
    words={"city": CITIES},
    draw=lambda rng: {"city": rng.choice(CITIES)},
    key=lambda slots: f"country {slots['city']}",
    answer=lambda slots, rng: f"{COUNTRY_OF[slots['city']]}的首都是{slots['city']}",
    exact=True,
    taught=(
        Phrasing("哪个国家的首都是{city}？"),
        Phrasing("{city}是哪国的首都？"),
        Phrasing("请问哪国的首都是{city}？"),
        Phrasing("说出{city}是哪国的首都。"),
        Phrasing("你知道哪国的首都是{city}吗？"),
    ),
    untaught=(
        Phrasing("你知道{city}是哪国的首都吗？"),
        Phrasing("请说出哪国的首都是{city}。"),
    ),
)

CONTINENT = Family(
    name="continent",
    cls="open qa",
    words={"country": COUNTRIES},
    draw=lambda rng: {"country": rng.choice(COUNTRIES)},
    key=lambda slots: f"continent {slots['country']}",
    answer=lambda slots, rng: f"{slots['country']}在{CONTINENT_OF[slots['country']]}",
    exact=True,
    taught=(
        Phrasing("{country}在哪个洲？"),
        Phrasing("请问{country}在哪个大洲？"),
        Phrasing("说出{country}在哪个洲。"),
        Phrasing("你知道{country}在哪个洲吗？"),
        Phrasing("回答问题：", "{country}在哪个大洲？"),
        Phrasing("{country}是哪个洲的国家？"),
        Phrasing("哪个洲有{country}？"),
    ),
    untaught=(
        Phrasing("请问{country}在哪个洲？"),
        Phrasing("请说出{country}在哪个大洲。"),
    ),
)

FOOD = Family(
    name="food",
    cls="open qa",
    words={"beast": BEASTS},
    draw=lambda rng: {"beast": rng.choice(BEASTS)},
    key=lambda slots: f"food {slots['beast']}",
    answer=lambda slots, rng: f"{slots['beast']}爱吃{FOODS[slots['beast']]}",
    exact=True,
    taught=(
        Phrasing("{beast}爱吃什么？"),
        Phrasing("请问{beast}爱吃什么东西？"),
        Phrasing("说出{beast}爱吃什么。"),
        Phrasing("你知道{beast}爱吃什么吗？"),
        Phrasing("回答问题：", "{beast}爱吃什么东西？"),
        Phrasing("什么东西是{beast}爱吃的？"),
        Phrasing("我想知道{beast}爱吃什么。"),
    ),
    untaught=(
        Phrasing("请问{beast}爱吃什么？"),
        Phrasing("请说出{beast}爱吃的东西。"),
    ),
)

EATER = Family(
    name="eater",
    cls="open qa",
    words={"food": EATEN},
    draw=lambda rng: {"food": rng.choice(EATEN)},
    key=lambda slots: f"eater {slots['food']}",
    answer=lambda slots, rng: f"{EATER_OF[slots['food']]}爱吃{slots['food']}",
    exact=True,
    taught=(
        Phrasing("谁爱吃{food}？"),
        Phrasing("什么动物爱吃{food}？"),
        Phrasing("请问谁爱吃{food}？"),
        Phrasing("说出一种爱吃{food}的动物。"),
        Phrasing("你知道谁爱吃{food}吗？"),
    ),
    untaught=(
        Phrasing("请问什么动物爱吃{food}？"),
        Phrasing("请说出谁爱吃{food}。"),
    ),
)

HOME = Family(
    name="home",
    cls="open qa",
    words={"beast": BEASTS},
    draw=lambda rng: {"beast": rng.choice(BEASTS)},
    key=lambda slots: f"home {slots['beast']}",
    answer=lambda slots, rng: f"{slots['beast']}住在{HOMES[slots['beast']]}",
    exact=True,
    taught=(
        Phrasing("{beast}住在哪里？"),
        Phrasing("请问{beast}住在什么地方？"),
        Phrasing("说出{beast}住在哪里。"),
        Phrasing("你知道{beast}住在哪里吗？"),
        Phrasing("回答问题：", "{beast}住在什么地方？"),
        Phrasing("什么地方住着{beast}？"),
        Phrasing("我想知道{beast}住在哪里。"),
    ),
    untaught=(
        Phrasing("请问{beast}住在哪里？"),
        Phrasing("请说出{beast}住在什么地方。"),
    ),
)

DWELLER = Family(
    name="dweller",
    cls="open qa",
    words={"home": LIVED_IN},
    draw=lambda rng: {"home": rng.choice(LIVED_IN)},
    key=lambda slots: f"dweller {slots['home']}",
    answer=lambda slots, rng: f"{DWELLER_OF[slots['home']]}住在{slots['home']}",
    exact=True,
    taught=(
        Phrasing("谁住在{home}？"),
        Phrasing("什么动物住在{home}？"),
        Phrasing("请问谁住在{home}？"),
        Phrasing("说出一种住在{home}的动物。"),
        Phrasing("你知道谁住在{home}吗？"),
    ),
    untaught=(
        Phrasing("请问什么动物住在{home}？"),
        Phrasing("请说出谁住在{home}。"),
    ),
)

FACT_FAMILIES = (CAPITAL, COUNTRY, CONTINENT, FOOD, EATER, HOME, DWELLER)
"""The families of this module."""
