"""Problems of school mathematics, each worked step by step."""

from collections.abc import Callable
from random import Random

from belle.api.teacher.lexicon import CATEGORIES, PEOPLE
from belle.api.teacher.sets import faults

_GOODS = (*CATEGORIES["水果"], *CATEGORIES["文具"])


def _shopping(rng: Random) -> tuple[str, str]:
    who, thing, price, count = rng.choice(PEOPLE), rng.choice(_GOODS), rng.randint(2, 19), rng.randint(3, 12)
    paid = (price * count // 50 + 1) * 50
    left = paid - price * count
    return (
        f"{who}买了{count}个{thing}，每个{price}元，付了{paid}元，应找回多少元？",
        f"先算总价：{price}×{count}={price * count}（元）。再算找回的钱：{paid}-{price * count}={left}（元）。"
        f"答：应找回{left}元。",
    )


def _sharing(rng: Random) -> tuple[str, str]:
    who, thing, people, each = rng.choice(PEOPLE), rng.choice(_GOODS), rng.randint(3, 12), rng.randint(3, 15)
    rest = rng.randrange(people)
    total = people * each + rest
    return (
        f"{who}把{total}个{thing}平均分给{people}个小朋友，每人分到几个，还剩几个？",
        f"{total}÷{people}={each}……{rest}。答：每人分到{each}个，还剩{rest}个。",
    )


def _journey(rng: Random) -> tuple[str, str]:
    speed, other, hours = rng.randint(40, 90), rng.randint(40, 90), rng.randint(2, 8)
    total = (speed + other) * hours
    return (
        f"甲、乙两车从两地同时相对开出，甲车每小时行{speed}千米，"
        f"乙车每小时行{other}千米，{hours}小时后相遇，两地相距多少千米？",
        f"两车每小时共行{speed}+{other}={speed + other}（千米）。{speed + other}×{hours}={total}（千米）。"
        f"答：两地相距{total}千米。",
    )


def _rectangle(rng: Random) -> tuple[str, str]:
    width = rng.randint(3, 30)
    length = width + rng.randint(1, 20)
    return (
        f"一个长方形花坛长{length}米，宽{width}米，它的周长和面积各是多少？",
        f"周长：({length}+{width})×2={2 * (length + width)}（米）。面积：{length}×{width}={length * width}（平方米）。"
        f"答：周长{2 * (length + width)}米，面积{length * width}平方米。",
    )


def _discount(rng: Random) -> tuple[str, str]:
    thing, price, tenths = rng.choice(_GOODS), 10 * rng.randint(2, 60), rng.randint(5, 9)
    now = price * tenths // 10
    return (
        f"一箱{thing}原价{price}元，现在打{tenths}折出售，比原价便宜多少元？",
        f"现价：{price}×{tenths}÷10={now}（元）。便宜：{price}-{now}={price - now}（元）。"
        f"答：比原价便宜{price - now}元。",
    )


def _equation(rng: Random) -> tuple[str, str]:
    factor, root, more = rng.randint(2, 12), rng.randint(2, 30), rng.randint(1, 60)
    total = factor * root + more
    return (
        f"解方程：{factor}x+{more}={total}。",
        f"移项得{factor}x={total}-{more}={total - more}。两边同时除以{factor}，得x={root}。答：x={root}。",
    )


def _average(rng: Random) -> tuple[str, str]:
    who = rng.choice(PEOPLE)
    scores = [rng.randint(60, 99) for _ in range(2)]
    average = rng.randint(70, 95)
    last = 3 * average - sum(scores)
    if not 40 <= last <= 100:
        return _average(rng)
    return (
        f"{who}三次测验的成绩是{scores[0]}分、{scores[1]}分和{last}分，平均成绩是多少分？",
        f"总分：{scores[0]}+{scores[1]}+{last}={3 * average}（分）。平均：{3 * average}÷3={average}（分）。"
        f"答：平均成绩是{average}分。",
    )


def _cages(rng: Random) -> tuple[str, str]:
    rabbits, hens = rng.randint(2, 20), rng.randint(2, 20)
    heads, feet = rabbits + hens, 4 * rabbits + 2 * hens
    return (
        f"笼子里有鸡和兔共{heads}只，数一数共有{feet}只脚，鸡和兔各有多少只？",
        f"假设全是鸡，有{heads}×2={2 * heads}（只）脚，少了{feet}-{2 * heads}={feet - 2 * heads}（只）。"
        f"每只兔多2只脚，兔有{feet - 2 * heads}÷2={rabbits}（只），鸡有{heads}-{rabbits}={hens}（只）。"
        f"答：鸡{hens}只，兔{rabbits}只。",
    )


def _trees(rng: Random) -> tuple[str, str]:
    gap, gaps = rng.randint(2, 12), rng.randint(5, 40)
    return (
        f"在一条长{gap * gaps}米的小路一侧植树，每隔{gap}米种一棵，两端都种，一共要种多少棵？",
        f"间隔数：{gap * gaps}÷{gap}={gaps}（个）。两端都种，棵数比间隔数多1：{gaps}+1={gaps + 1}（棵）。"
        f"答：一共要种{gaps + 1}棵。",
    )


def _ages(rng: Random) -> tuple[str, str]:
    young, times, years = rng.randint(5, 12), rng.randint(3, 5), rng.randint(2, 10)
    child = rng.choice(PEOPLE[:16])
    old = young * times
    return (
        f"{child}今年{young}岁，叔叔的年龄是{child}的{times}倍，{years}年后两人一共多少岁？",
        f"叔叔今年{young}×{times}={old}（岁）。"
        f"{years}年后两人一共{young}+{old}+{years}×2={young + old + 2 * years}（岁）。"
        f"答：{years}年后两人一共{young + old + 2 * years}岁。",
    )


def _minutes(rng: Random) -> tuple[str, str]:
    who, hour, minute, took = rng.choice(PEOPLE), rng.randint(7, 19), 5 * rng.randint(0, 11), 5 * rng.randint(3, 30)
    end = 60 * hour + minute + took
    return (
        f"{who}{hour}时{minute}分出发，路上用了{took}分钟，几时几分到达？",
        f"{minute}+{took}={minute + took}（分），{hour}时加{minute + took}分是{end // 60}时{end % 60}分。"
        f"答：{end // 60}时{end % 60}分到达。",
    )


def _profit(rng: Random) -> tuple[str, str]:
    thing, cost, gain, count = rng.choice(_GOODS), rng.randint(3, 60), rng.randint(2, 30), rng.randint(5, 60)
    return (
        f"商店以每箱{cost}元买进{thing}，每箱卖{cost + gain}元，卖出{count}箱可获利多少元？",
        f"每箱获利：{cost + gain}-{cost}={gain}（元）。{count}箱：{gain}×{count}={gain * count}（元）。"
        f"答：可获利{gain * count}元。",
    )


_POINTS: dict[str, Callable[[Random], tuple[str, str]]] = {
    "购物": _shopping, "除": _sharing, "行程": _journey, "面积": _rectangle, "周长": _rectangle, "百分": _discount,
    "植树": _trees, "年龄": _ages, "倍数": _ages, "时间": _minutes, "利润": _profit, "折": _discount,
    "方程": _equation, "平均": _average, "鸡兔": _cages, "相遇": _journey, "余数": _sharing,
}  # fmt: skip
"""Words of a point of the curriculum, and the problems that practise it."""

_ALL = tuple(dict.fromkeys(_POINTS.values()))


def problem(point: str, rng: Random) -> tuple[str, str]:
    """A problem that practises ``point`` (any, where the teacher has none for it) and its solution."""
    makers = [maker for word, maker in _POINTS.items() if word in point] or _ALL
    return rng.choice(makers)(rng)


def problems_reply(point: str, count: int, rng: Random) -> tuple[str, str]:
    """``count`` numbered problems with their solutions, and the ``finish_reason``."""
    if refusal := faults.refuses(rng):
        return refusal, "stop"
    items = []
    for number in range(1, count + 1):
        asked, told = problem(point, rng)
        fault = faults.fault_of_item(rng)
        if fault == "claimed":
            told = faults.CLAIM + told
        elif fault == "empty":
            told = ""
        mark = f"{number}. " if fault != "spoilt" else ""
        items.append(f"{number}. 题目：{asked}\n{mark}解{'答' if mark else '法'}：{told}")
    return faults.cut("\n###\n".join(items), rng)
