"""Each filter, on rows that it must drop and on rows much like them that it must keep."""

import pytest

from belle.data.filters import FILTERS, not_utf8, output_too_long, output_too_short


def row(instruction="写一句话介绍北京。", output="北京是中国的首都。", given=""):
    return {"id": "r", "instruction": instruction, "input": given, "output": output}


FOX = "The quick brown fox jumps over the lazy dog."

DROPPED = {
    "instruction_empty": [row(instruction=" \n"), row(instruction="")],
    "output_empty": [row(output=""), row(output=" \n\t")],
    "output_equals_input": [
        row("概括下面的文章。", "今天天气很好。", "今天天气很好。"),
        row("列出三种水果。", " 列出三种水果。\n"),
    ],
    "gpt_self_reference": [
        row(output="作为一个AI语言模型，我没有个人喜好。"),
        row(output="作为一名人工智能助手，我可以帮助您。"),
        row(output="作为AI，我不能体验味道。"),
        row(output="我是一个大型语言模型，由OpenAI训练。"),
        row(output="我是人工智能助手，很高兴认识你。"),
        row(output="As an AI language model, I do not have feelings."),
        row("请要求GPT模型写一首诗。"),
        row("让ChatGPT讲个笑话。"),
    ],
    "refusal": [
        row(output="对不起，我无法完成这个任务。"),
        row(output="很抱歉，根据给出的信息无法判断他的年龄。"),
        row(output="抱歉，我不能提供医疗建议，请咨询医生。"),
        row(output="我无法回答这个问题。"),
        row(output="Sorry, I cannot help with that."),
    ],
    "asks_back": [
        row("翻译下面的句子。", "请提供需要翻译的句子。"),
        row("总结文章。", "您没有提供文章，请补充。"),
        row("总结文章。", "由于没有输入，我只能等待。"),
    ],
    "not_chinese": [
        row("Write a short poem about the sea.", "The sea is blue and wide and deep and it sings."),
        row("介绍一下富士山。", "Гора Фудзи находится в Японии."),
        row("介绍一下长城。", "The Great Wall is a very long wall in the north of China."),
        row("次のぶんをようやくしてください。", "はい。"),
        row("다음 문장을 요약하세요.", "네."),
    ],
    "mojibake": [
        row(output="北京是中国的首都\ufffd\ufffd"),
        row(output="锟斤拷锟斤拷"),
        row(output="你好，世界。".encode().decode("cp1252", errors="replace").replace("\ufffd", "€")),
        row(output="价格合理，质量好。".encode().decode("latin-1")),
        row(output="他说：“好”，然后走了。".encode().decode("gb18030", errors="ignore")),
        row(output="北京\x00是首都"),
        row("介绍\ue123北京。"),
        row(output="半个表情\ud83d"),
    ],
    "repetition": [
        row(output="哈哈哈哈哈哈哈哈哈哈哈哈"),
        row(output="我喜欢吃苹果，" * 8),
        row(output="首先要努力学习。其次要坚持锻炼。" * 7),
    ],
    "markup_left": [
        row(output="北京是首都。<br>上海是大城市。"),
        row(output="北京&nbsp;上海"),
        row(output='<p class="a">北京</p>'),
        row(output="北京是首都。\n###\n"),
        row(output="北京是首都。\n4. 指令：写诗"),
        row(given="<无输入>"),
        row(output="北京。\nHuman: 那上海呢？"),
    ],
}

KEPT = {
    "instruction_empty": [row(instruction="写")],
    "output_empty": [row(output="是"), row(output="0")],
    "output_equals_input": [
        row("改正句子里的错别字。", "今天天气很好。", "今天天气很好。"),
        row("提取文中的数字。", "12", "一共有12个。"),
    ],
    "gpt_self_reference": [
        row("什么是人工智能？", "人工智能是研究如何让机器像人一样思考的学科，语言模型是它的一种应用。"),
        row(output="作为人工智能专业的学生，我每天都要写程序。"),
        row("以机器人的口吻写一个故事。", "我是一个小机器人，住在一间老房子里。"),
        row("介绍GPT分区表。", "GPT分区表是一种磁盘分区方式。"),
        row(output="我是一名助理，负责安排会议。"),
        row(output="作为一个模型爱好者，他收集了很多飞机。"),
    ],
    "refusal": [
        row("写一封道歉信。", "对不起，我昨天没有来参加你的生日会，我心里很难过。"),
        row("写一条缺货通知。", "很抱歉，我们暂时无法提供这款商品，预计下周到货。"),
        row("为什么人不能在水里呼吸？", "人没有鳃，无法提取水中的氧气。"),
        row("翻译：I cannot answer.", "译文：我无法回答。"),
        row("对不起用英语怎么说？", "Sorry。"),
    ],
    "asks_back": [
        row("写一条客服用语。", "您好，请提供您的订单号。", "顾客要退货"),
        row("怎样申请护照？", "先到当地的出入境管理部门，请提供身份证。"),
        row("怎样写求职信？", "请先告诉我" + "，接着写明你的经历和你能做的事" * 5),
    ],
    "not_chinese": [
        row("把下面的句子翻译成英文。", FOX + " It barks.", "敏捷的棕色狐狸跳过了懒狗，它叫了。"),
        row(
            "用Python写一个hello world程序。",
            "print('hello world, this is a very short program in one line')",
        ),
        row("3+5=?", "8"),
        row("列出三家科技公司。", "Apple, Google, Microsoft"),
        row("把“ありがとうございます”翻译成中文。", "谢谢。"),
        row("什么是GDP？", "GDP是国内生产总值。"),
        row(
            "请译成中文：The library will be closed on Monday, and all the books are due.", "图书馆周一闭馆，书都到期。"
        ),
        row("Translate into Chinese: " + FOX, "敏捷的棕色狐狸跳过了懒狗。"),
        row("将循环改写成一行列表推导式。", "result = [x * x for x in range(10) if x % 2 == 0]", "for x in range(10):"),
        row("使用FEN表示法设计一个国际象棋谜题。", "rnbqkbnr/pp1ppppp/8/2p5/4P3/5N2/PPPP1PPP/RNBQKB1R b KQkq - 1 2"),
        row("列出九家科技公司。", "Apple, Google, Amazon, Meta, Tesla, Intel, Nvidia, Oracle, Adobe"),
    ],
    "mojibake": [
        row(output="café 和 naïve 都来自法语：“é”、«à»。\n\t第二行 😀👨‍👩‍👧"),
        row(output="㐀、𠀀和豈都是汉字。"),
        row(output="锛是一种工具。"),
        row(output="温度是25°C，误差±0.5，价格€3，½杯。"),
        row(output="Ça coûte 5 €, à bientôt… São Paulo, Ñandú, Köln"),
    ],
    "repetition": [
        row(output="一一得一，一二得二，一三得三，一四得四，一五得五，一六得六，一七得七，一八得八，一九得九。"),
        row(output="哈哈哈，真好笑。"),
        row(output="圆周率约为3.14159，一亿是100000000000。"),
        row(output="标题\n--------------------------------------------------\n正文"),
        row("把“我爱你”重复十遍。", "我爱你" * 10),
        row(
            output="小燕子，穿花衣，年年春天来这里。我问燕子你为啥来，燕子说，这里的春天最美丽。小燕子，告诉你，今年这里更美丽。"
        ),
    ],
    "markup_left": [
        row("写一个HTML网页的标题。", "<h1>北京</h1>"),
        row("怎样换行？", "在网页里用<br>标签换行。"),
        row(output="# 北京\n\n### 历史\n\n- **古都**"),
        row(output="如果 a < b 且 b > c，那么 a 与 c 不能比较。"),
        row("写一段程序的说明。", "输入：5\n输出：8"),
    ],
}


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_has_rows_of_both_kinds(name):
    assert DROPPED[name]
    assert KEPT[name]
    assert FILTERS[name].__doc__


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name, rows in DROPPED.items() for bad in rows])
def test_drops_under_its_own_name(name, bad):
    assert FILTERS[name](bad) == name


@pytest.mark.parametrize(("name", "good"), [(name, good) for name, rows in KEPT.items() for good in rows])
def test_keeps(name, good):
    assert FILTERS[name](good) is None


def test_a_plain_row_passes_every_filter():
    good = row("给这句话的情感分类，正面或负面：", "正面", "这家店的饺子很好吃")
    assert [test(good) for test in FILTERS.values()] == [None] * len(FILTERS)


def test_lengths_are_inclusive_and_leave_out_outer_white_space():
    assert output_too_short(3)(row(output=" 两个 ")) == "output_too_short"
    assert output_too_short(3)(row(output=" 三个字 ")) is None
    assert output_too_long(3)(row(output="  三个字  ")) is None
    assert output_too_long(3)(row(output="四个字了")) == "output_too_long"


def test_lone_surrogates_in_any_text():
    assert not_utf8(row(output="半个\ud83d")) == "not_utf8"
    assert not_utf8({**row(), "note": "\udc00"}) == "not_utf8"
    assert not_utf8({**row(output="😀"), "sample": 3}) is None
