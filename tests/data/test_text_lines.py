"""Filters of lines and of documents: each drops its fault and keeps what only looks like it."""

import pytest

from belle.data.text import heuristics, lines
from belle.data.text.language import language

SYMBOLS = lines.line_symbols(0.5)
SHORT = lines.line_short(5)


@pytest.mark.parametrize(
    "line",
    [
        "首页 > 新闻中心 > 国内新闻 > 正文",
        "首页 | 新闻 | 体育 | 财经 | 娱乐",
        "首页　资讯　视频　论坛　关于",
        "您当前的位置：首页 › 科技 › 手机",
        "当前位置: 首页",
        "上一篇：秋天的果园",
        "下一篇:没有了",
        "【返回首页】",
        "相关阅读：",
        "点击查看更多",
        "阅读全文>>",
        "设为首页 加入收藏",
        "登录 / 注册",
        "上一页 1 2 3 4 5 下一页 尾页",
        "分享到：微博 微信 QQ空间",
        "猜你喜欢",
    ],
)
def test_navigation_goes(line):
    assert lines.line_navigation(line) == "line_navigation"


@pytest.mark.parametrize(
    "line",
    [
        "上一页的内容告诉我们，声音在水里比在空气里传得快。",
        "春节、元宵节、端午节和中秋节都是我国的传统节日。",
        "首页设计要简洁，不要放太多图片。",
        "3 > 2，所以 a > b。",
        "12 | 34 | 56 | 78",
        "北京 上海 广州",
        "点击查看更多的人，往往会停留更久。",
        "他写下一篇文章，又改了三遍",
        "登录以后，请先修改密码。",
        "苹果：3元/斤 香蕉：2元/斤 橘子：4元/斤 葡萄：8元/斤",
        "春眠不觉晓，处处闻啼鸟",
    ],
)
def test_lines_that_only_look_like_navigation_stay(line):
    assert lines.line_navigation(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "京ICP备12345678号-2",
        "沪公网安备 31010102000001号",
        "粤ICP证000001号 增值电信业务经营许可证",
        "版权所有 © 2015-2023 某某网络科技有限公司",
        "Copyright © 2020 Example Inc. All Rights Reserved.",
        "我们使用 Cookie 来改善您的浏览体验，继续浏览即表示同意。",
        "接受所有Cookie",
        "未经书面授权，任何人不得转载本站内容。",
        "扫描下方二维码，获取更多资讯",
        "欢迎关注我们的微信公众号",
        "（责任编辑：小王）",
        "来源：某某日报　作者：小李",
        "发布时间：2021-03-05 10:22",
        "联系我们 | 隐私政策 | 免责声明",
        "客服电话：400-000-0000",
        "加微信：abc12345",
    ],
)
def test_notices_go(line):
    assert lines.line_notice(line) == "line_notice"


@pytest.mark.parametrize(
    "line",
    [
        "网站上线之前要先办理ICP备案，这是法律的要求。",
        "Cookie是网站存在浏览器里的一小段文本，服务器用它来认出同一个用户。",
        "作者去世五十年后，版权所有人的权利就到期了。",
        "二维码由黑白相间的小方块组成，手机可以识别它。",
        "这条消息的来源还没有得到证实。",
        "编辑部的人都说，这篇稿子写得好。",
        "公众号的文章越来越长，读的人却越来越少。",
        "他在信里写道：“联系我们的人太多了，我来不及回。”",
        "我国的版权法规定，版权所有者可以许可别人使用作品。",
    ],
)
def test_sentences_about_such_things_stay(line):
    assert lines.line_notice(line) is None


def test_a_long_paragraph_with_a_notice_in_it_stays():
    line = "未经授权不得转载是很多网站都会写的一句话。" + "可是读者很少会注意到它，作者也很少去追究。" * 6
    assert lines.line_notice(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "https://www.example.com/news/2021/03/05/1234.html",
        "下载 http://example.com/file.zip",
        "推荐 http://a.example.com http://b.example.com www.example.org 都不错的网站，大家可以去看看",
    ],
)
def test_links_go(line):
    assert lines.line_links(line) == "line_links"


@pytest.mark.parametrize(
    "line",
    [
        "详细的数据可以在统计局的网站 http://www.example.com 上查到，每个月更新一次。",
        "在浏览器里输入http://127.0.0.1:8080就能看到刚才写的页面了。",
        "万维网的缩写是WWW。",
    ],
)
def test_a_sentence_with_a_link_stays(line):
    assert lines.line_links(line) is None


@pytest.mark.parametrize("line", ["★★★★☆", "-----===-----", "—— … —— …", "｡◕‿◕｡ ～～", "| | | | | a"])
def test_rules_and_stars_go(line):
    assert SYMBOLS(line) == "line_symbols"


@pytest.mark.parametrize(
    "line", ["“你——你怎么来了？！”", "a + b = c", "《红楼梦》（上）", "3.14159", "他说：“好！”", "print(x[0])"]
)
def test_lines_with_much_punctuation_stay(line):
    assert SYMBOLS(line) is None


@pytest.mark.parametrize("line", ["图一", "更多", "1", "(完)", "转帖"])
def test_scraps_go(line):
    assert SHORT(line) == "line_short"


@pytest.mark.parametrize("line", ["“走吧。”", "好！", "第一章　总则", "他笑了。", "床前明月光"])
def test_short_sentences_and_titles_stay(line):
    assert SHORT(line) is None


def test_empty_lines():
    assert lines.line_empty(" 　\t") == "line_empty"
    assert lines.line_empty("一") is None


# --- documents ------------------------------------------------------------------------------------------------------

PROSE = (
    "清晨的时候，村口的老槐树下已经坐了几个老人。他们说着今年的收成，也说着在城里做工的孩子。\n"
    "太阳慢慢升起来了，雾气从河面上散去，对岸的稻田一片金黄。\n"
    "我站在桥上，想起小时候跟着爷爷来这里钓鱼的日子，那时的河水比现在要清得多。"
)
DIALOGUE = "“你要去哪儿？”\n“去镇上买点盐，家里的用完了。”\n“那你等我一下，我也去。”\n“快点，车就要开了！”"
POEM = "远处的山是青的\n近处的水是绿的\n你从山那边来\n带着一身的风\n和不肯停的雨"
LAW = "第一条　为了保护公民的合法权益，根据宪法，制定本法。\n第二条　本法适用于在我国境内从事的有关活动。"
RECIPE = (
    "鸡蛋3个、番茄2个、盐5克、油15毫升。\n先把番茄切成块，再把鸡蛋打散。\n锅里放油，烧热了以后倒入蛋液，凝固后盛出。"
)
CODE = (
    "用下面的代码可以读出文件的每一行：\nwith open('a.txt') as f:\n    for line in f:\n        print(line.strip())\n"
    "这样写不用自己关闭文件。"
)


@pytest.mark.parametrize(
    "text", [PROSE, DIALOGUE, LAW, RECIPE, CODE], ids=["prose", "dialogue", "law", "recipe", "code"]
)
def test_good_documents_pass_every_filter(text):
    for each in (
        heuristics.too_short(20), heuristics.too_long(100_000), heuristics.few_ideographs(0.4),
        heuristics.many_symbols(0.1), heuristics.repetition(0.4), heuristics.few_stop_characters(0.03),
        heuristics.few_sentence_ends(0.3),
    ):  # fmt: skip
        assert each(text) is None
    assert language(text) == "zh"


@pytest.mark.parametrize(
    ("filter_", "reason", "dropped", "kept"),
    [
        (heuristics.too_short(50), "too_short", "今天天气不错。" + " \n" * 60, PROSE),
        (heuristics.too_long(200), "too_long", PROSE * 2, PROSE),
        (heuristics.few_ideographs(0.5), "few_ideographs", "型号 AX-100 USB3.0 2TB 7200rpm SATA 在售", RECIPE),
        (heuristics.many_symbols(0.1), "many_symbols", "★特☆价★包☆邮★限☆时★抢☆购★", "评分：★★★★☆ " + PROSE),
        (
            heuristics.repetition(0.4),
            "repetition",
            "这款产品真的很好用，推荐大家购买。" * 6,
            f"{POEM}\n{PROSE}\n{POEM}",
        ),
        (
            heuristics.few_stop_characters(0.03),
            "few_stop_characters",
            "钢材 铝材 铜材 管件 阀门 法兰 弯头 螺栓 轴承 电缆 电机 水泵 风机 减速机 传感器",
            POEM,
        ),
        (
            heuristics.few_sentence_ends(0.3),
            "few_sentence_ends",
            "某市举行春季运动会\n两地之间新开一条公路\n专家谈怎样预防感冒\n本周六有小到中雨",
            CODE,
        ),
    ],
)
def test_each_filter_of_documents(filter_, reason, dropped, kept):
    assert filter_(dropped) == reason
    assert filter_(kept) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, "zh"),
        ("請問這附近有沒有郵局？我想寄一個包裹給朋友。", "zh"),
        ("我用 Python 和 NumPy 写了一个 K-means 聚类，效果还不错，就是 for 循环有点慢。", "zh"),
        ("日本动画《となりのトトロ》在中国上映，很多人带着孩子去电影院看了这部三十年前的老片子。", "zh"),
        ("今日は天気がいいので、友だちと公園へ行って、写真をたくさん撮りました。", "ja"),
        ("東京タワーは昭和三十三年に完成した電波塔である。", "ja"),
        ("오늘은 날씨가 좋아서 친구와 함께 공원에 갔습니다.", "ko"),
        ("The quick brown fox jumps over the lazy dog. 你好", "latin"),
        ("Сегодня хорошая погода, и мы пошли в парк.", "cyrillic"),
        ("ذهبنا إلى الحديقة لأن الطقس جميل اليوم", "arabic"),
        ("วันนี้อากาศดีมาก เราไปสวนสาธารณะ", "thai"),
        ("आज मौसम बहुत अच्छा है", "devanagari"),
        ("Σήμερα ο καιρός είναι καλός", "greek"),
        ("12345 + 678 = ？", "none"),
        ("", "none"),
    ],
)
def test_language(text, expected):
    assert language(text) == expected
