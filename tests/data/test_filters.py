"""Each filter, on rows that it must drop and on rows much like them that it must keep."""

import random
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import pytest

from belle import jsonl
from belle.data.filters import (
    FILTERS,
    SUSPECTS,
    Columns,
    Searching,
    blacklist_of,
    not_utf8,
    output_too_long,
    output_too_short,
    suspects_of,
    too_long,
    too_short,
)
from belle.data.filters.columns import NAMES
from belle.data.selfinstruct import BLACKLIST
from tools import filter_figures


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
    "instruction_length": [
        row("写诗", "春眠不觉晓，处处闻啼鸟。"),
        row("改写" + "这段话，并且保持原意" * 12, "好的。", "今天下雨了。"),
        row("给出示例" + "，并且说明理由" * 22, "好的。", "今天下雨了。"),
    ],
    "blacklist": [
        row("这张图片里有什么？", "一只猫。"),
        row("怎样给照片加边框？", "用修图软件即可。"),
        row("介绍OpenAI。", "一家公司。"),
        row("写一个网址。", "http://example.com"),
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
        row("你是谁？", "我叫ChatGPT，很高兴认识你。"),
        row("你会累吗？", "我是一个聊天机器人，不会感到疲倦。"),
        row("你的消息灵通吗？", "我的训练数据截止到2021年，之后的事我不清楚。"),
    ],
    "refusal": [
        row(output="对不起，我无法完成这个任务。"),
        row(output="很抱歉，根据给出的信息无法判断他的年龄。"),
        row(output="抱歉，我不能提供医疗建议，请咨询医生。"),
        row(output="我无法回答这个问题。"),
        row(output="Sorry, I cannot help with that."),
        row("你能唱歌吗？", "作为一个人工智能助手，我不能生成音频。"),
        row("推荐一种药。", "我不是医生，不能提供用药建议。"),
        row("算一算。", "该问题无法回答，因为条件不够。"),
        row("把这段话译成藏语。", "不好意思，我不会藏语。", "你好"),
    ],
    "asks_back": [
        row("翻译下面的句子。", "请提供需要翻译的句子。"),
        row("总结文章。", "您没有提供文章，请补充。"),
        row("总结文章。", "由于没有输入，我只能等待。"),
        row("帮我写一封信。", "请问您要写给谁？"),
        row("润色段落。", "好的，请提供段落。"),
    ],
    "unanswerable": [
        row("请描述下面这张图片。", "图片上有一片海。"),
        row("总结这个链接里的新闻。", "新闻讲了一场比赛。", "https://example.com/1"),
        row("今天上海的天气怎么样？", "晴，二十度。"),
        row("现在几点了？", "下午三点。"),
        row("如图所示，求阴影部分的面积。", "12平方厘米。"),
        row("请播放一首民谣。", "正在播放。"),
        row("帮我订一张去成都的机票。", "已经订好。"),
        row("从上传的文件中找出总价。", "总价为三百元。"),
    ],
    "input_missing": [
        row("把下面的句子翻译成英文。", "I like tea."),
        row("概括这篇文章的中心思想。", "文章赞美了母爱。"),
        row("从给定的文本中提取人名。", "张三"),
        row("改正以下段落中的错误。", "他们都去了学校。"),
        row("根据上文，主人公为什么哭了？", "因为他丢了钱包。"),
    ],
    "not_chinese": [
        row("Write a short poem about the sea.", "The sea is blue and wide and deep and it sings."),
        row("介绍一下富士山。", "Гора Фудзи находится в Японии."),
        row("介绍一下长城。", "The Great Wall is a very long wall in the north of China."),
        row("次のぶんをようやくしてください。", "はい。"),
        row("다음 문장을 요약하세요.", "네."),
    ],
    "foreign_input": [
        row(
            "用一句话概括。", "图书馆将于周一关闭。", "The library will be closed on Monday for some repairs, they say."
        ),
        row("判断评论是好评还是差评。", "好评", "Отличный магазин, всё пришло вовремя"),
        row("给短文拟一个题目。", "早起的好处", "People who get up early often say that they feel better all day."),
    ],
    "mixed_script": [
        row("怎样煮粥？", "先把米洗净，然后加水を入れて小火慢煮。"),
        row("介绍黄山。", "黄山是著名的관광지，风景优美。"),
        row("什么是露水？", "夜里水汽遇冷凝结成的капли，就是露水。"),
    ],
    "traditional": [
        row("為什麼要節約用水？", "因為水資源很有限。"),
        row("什么是光年？", "光年是長度單位，指光在真空中一年走過的距離。"),
        row("概括短文。", "小狗跑了。", "傍晚，小狗從後門跑了出去，再也沒有回來。"),
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
        row(output="价格合理，质量好。".encode("gbk").decode("latin-1")),
        row(output="多喝热水早点休息".encode().decode("gbk", errors="replace").replace("\ufffd", "?")),
        row(output="caf\u00c3\u00a9和面包"),
        row("什么是惯性？", "????????????"),
        row("什么是重力？", "\\u91cd\\u529b\\u662f\\u5438\\u5f15\\u529b"),
    ],
    "repetition": [
        row(output="哈哈哈哈哈哈哈哈哈哈哈哈"),
        row(output="我喜欢吃苹果，" * 8),
        row(output="首先要努力学习。其次要坚持锻炼。" * 7),
        row(output="1. 多喝水\n2. 早点睡\n3. 多喝水\n4. 早点睡\n5. 多喝水\n6. 早点睡\n7. 多喝水\n8. 早点睡\n9. 多喝水"),
        row(output="这条河很长。" + "它流过许多地方，" * 6 + "最后入海。" + "岸边有人家。"),
        row(
            output="开头说几句不同的话，再往后"
            + "".join(chr(0x4E00 + 7 * n) for n in range(5000))
            + "就一直说这个，" * 40
        ),
    ],
    "markup_left": [
        row(output="北京是首都。<br>上海是大城市。"),
        row(output="北京&nbsp;上海"),
        row(output='<p class="a">北京</p>'),
        row(output="北京是首都。\n###\n"),
        row(output="北京是首都。\n4. 指令：写诗"),
        row(given="<无输入>"),
        row(output="北京。\nHuman: 那上海呢？"),
        row(output="北京。\n\n### Instruction:\n介绍上海"),
        row(output="北京是首都。<|endoftext|>"),
        row("写一句话。", "&ldquo;好&rdquo;"),
    ],
    "truncated": [
        row(
            "介绍保护视力的办法。",
            "保护视力首先要注意用眼卫生。每隔四十分钟休息一次，看看远处；其次要多到户外活动，还要",
        ),
        row(
            "列出三种水果和它们的好处。",
            "1. 苹果富含维生素，有助消化，适合每天早晨吃一个。\n2. 香蕉含钾丰富，适合运动后吃。\n3.",
        ),
        row("用Python求和。", "可以这样写：\n```python\ntotal = sum(numb"),
        row(
            "用Java写一个类。",
            "public class Dog {\n    private String name;\n    public void bark() {\n        System.out.",
        ),
        row("说说读书的好处。", "读书能开阔眼界，增长知识，还能陶冶情操，"),
    ],
    "personal_data": [
        row("提取电话。", "16384920577", "请联系赵先生，手机16384920577。"),
        row("写一张便条。", "有事请打 164-0728-3391。"),
        row("登记信息。", "姓名：周某，身份证号：11998119870312477X。"),
        row("留下邮箱。", "资料请寄到 wkq8@163.com。"),
        row("写转账说明。", "请转到银行卡 6299998044173526 户名周敏。"),
        row("写交友启事。", "喜欢爬山的朋友请加微信：zq_07。"),
        row("写交友启事。", "QQ号：9483027156，欢迎来聊。"),
        row("描述事故。", "肇事车的车牌是青K·7T95M。"),
        row("填写地址。", "寄到苏州市姑苏区青葙巷12号3幢402室。"),
    ],
}

KEPT = {
    "instruction_empty": [row(instruction="写")],
    "output_empty": [row(output="是"), row(output="0")],
    "output_equals_input": [
        row("改正句子里的错别字。", "今天天气很好。", "今天天气很好。"),
        row("提取文中的数字。", "12", "一共有12个。"),
    ],
    "instruction_length": [
        row("作首诗。", "春眠不觉晓，处处闻啼鸟。"),
        row("请续写：" + "从前有一座山，山里有一座庙" * 10, "庙里有个老和尚。"),
        row("仿照例子改写" + "，要求语句通顺" * 15, "我吃了饭。", "例子：把书看完 → 书看完了"),
    ],
    "blacklist": [
        row("怎样画一条直线？", "把尺子放平，沿着边画。"),
        row("介绍画家齐白石。", "他以画虾闻名。"),
    ],
    "gpt_self_reference": [
        row("什么是人工智能？", "人工智能是研究如何让机器像人一样思考的学科，语言模型是它的一种应用。"),
        row(output="作为人工智能专业的学生，我每天都要写程序。"),
        row("以机器人的口吻写一个故事。", "我是一个小机器人，住在一间老房子里。"),
        row("介绍GPT分区表。", "GPT分区表是一种磁盘分区方式。"),
        row(output="我是一名助理，负责安排会议。"),
        row(output="作为一个模型爱好者，他收集了很多飞机。"),
        row("写一段科幻小说的开头。", "“我是这艘船的智能助手，”那声音说，“别怕。”"),
        row("你的职业是什么？", "我是程序员，负责写代码和维护系统。"),
        row("怎样训练语言模型？", "先收集语料，再分词，然后在GPU上训练模型。"),
    ],
    "refusal": [
        row("写一封道歉信。", "对不起，我昨天没有来参加你的生日会，我心里很难过。"),
        row("写一条缺货通知。", "很抱歉，我们暂时无法提供这款商品，预计下周到货。"),
        row("为什么人不能在水里呼吸？", "人没有鳃，无法提取水中的氧气。"),
        row("翻译：I cannot answer.", "译文：我无法回答。"),
        row("对不起用英语怎么说？", "Sorry。"),
        row("“我不能回答”译成英语。", "Sorry, I can't answer."),
        row("根据短文回答，他几岁？", "根据短文无法判断他的年龄。", "他是一名教师。"),
        row("写一条回绝邀请的短信。", "真不好意思，那天我要加班，去不了，祝你们玩得开心！"),
    ],
    "asks_back": [
        row("写一条客服用语。", "您好，请提供您的订单号。", "顾客要退货"),
        row("怎样申请护照？", "先到当地的出入境管理部门，请提供身份证。"),
        row("怎样写求职信？", "请先告诉我" + "，接着写明你的经历和你能做的事" * 5),
        row("为自动取款机写一句提示。", "请输入您的密码。"),
    ],
    "unanswerable": [
        row("怎样在Word里插入图片？", "点“插入”，再点“图片”。"),
        row("写一个函数，读取图片文件的大小。", "def size(path): ..."),
        row("把“今天天气怎么样”译成英语。", "How is the weather today?"),
        row("《清明上河图》画的是什么？", "北宋汴京的风物。"),
        row("写一篇日记，记下今天的天气。", "今天晴。"),
        row(
            "根据图片的文字说明写一个故事。",
            "从前……",
            "图片说明：一个老人坐在村口的大树下，手里拿着一封旧信，远处有个孩子朝他跑来，天快黑了。",
        ),
        row("今天是星期三，十天后是星期几？", "星期六。"),
        row("为什么播放音乐能让人放松？", "因为节奏会影响心跳。"),
        row("给孩子打电话时该说什么？", "问问他的近况。"),
    ],
    "input_missing": [
        row("把下面的句子译成英文：我爱喝茶。", "I like tea."),
        row("把下面的句子译成英文。", "I like tea.", "我爱喝茶。"),
        row("阅读以下段落，概括大意。\n从前有座山，山里有座庙，庙里有个老和尚。", "讲山里的庙。"),
        row("把下面的句子改得更生动。我昨天去了公园，看到了很多花。", "昨天，满园的花迎着我笑。"),
        row("怎样概括一篇文章的中心思想？", "先找中心句。"),
        row("请提供三个旅游景点，并给出一句介绍。", "黄山、西湖、漓江。"),
        row("“这段话”在公文里怎么说？", "可说“上述内容”。"),
        row("楼下面的文具店几点开门？要求写一句问话。", "请问文具店几点开门？"),
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
    "foreign_input": [
        row("译成中文。", "图书馆周一关闭。", "The library will be closed on Monday for some repairs, they say."),
        row("解释下面的代码。", "打印数字。", "for x in range(10): print(x) and then do it all again"),
        row("判断词性。", "都是名词。", "apple, house"),
        row("从日志中找出出错的时间。", "10:22", "at 10:22 the server could not reach the data base and gave up"),
        row("把人名按姓氏排序。", "Adams, Baker, Clark", "Baker, Clark, Adams"),
    ],
    "mixed_script": [
        row("日语的“谢谢”怎么说？", "ありがとう"),
        row("莫斯科用当地文字怎么写？", "俄文写作Москва。"),
        row("三角形的内角和？", "α+β+γ=180°。"),
        row("写一句可爱的问候。", "早上好呀(๑•̀ㅂ•́)و✧"),
        row("为奶茶店起名。", "茶の味"),
    ],
    "traditional": [
        row("把“学习”写成繁体。", "學習"),
        row("王羲之的代表作是什么？", "《蘭亭集序》。"),
        row("乾隆是谁？", "乾隆是清朝的皇帝，著有许多诗，对后世影响显著。"),
        row("介绍著名作家于右任。", "他擅长书法，尤其是草书。"),
    ],
    "mojibake": [
        row(output="café 和 naïve 都来自法语：“é”、«à»。\n\t第二行 😀👨‍👩‍👧"),
        row(output="㐀、𠀀和豈都是汉字。"),
        row(output="锛是一种工具。"),
        row(output="温度是25°C，误差±0.5，价格€3，½杯。"),
        row(output="Ça coûte 5 €, à bientôt… São Paulo, Ñandú, Köln"),
        row("乱码“锟斤拷”是怎么来的？", "U+FFFD按UTF-8存、按GBK读，就成了锟斤拷。"),
        row(output="真的吗？？？！！我不信??"),
        row("给出“中国”的URL编码。", "%E4%B8%AD%E5%9B%BD"),
        row(output="屯门的烫面很烫，锛头和锛子是木工用的。"),
        row(output="他浏览了渊博的涵义，溯源而上，又到了淇水。"),
        row(output="第一列\t第二列\r\n数据　全角空格"),
    ],
    "repetition": [
        row(output="一一得一，一二得二，一三得三，一四得四，一五得五，一六得六，一七得七，一八得八，一九得九。"),
        row(output="哈哈哈，真好笑。"),
        row(output="圆周率约为3.14159，一亿是100000000000。"),
        row(output="标题\n--------------------------------------------------\n正文"),
        row("把“我爱你”重复十遍。", "我爱你" * 10),
        row(output="1/3约等于0.333333333333333333333333333333。"),
        row(output="姓名：____________________\n年龄：____________________"),
        row(output="12+15=\n23+18=\n45-17=\n36+24=\n50-26=\n7×8=\n9×6=\n48÷6=\n63÷7=\n81÷9="),
        row(output="我要飞，飞过这片海\n我要飞，飞过这片海\n我要飞，飞过这片海\n别问我为什么不回来"),
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
        row("写一段剧本，角色叫Human和Robot。", "Human：早。\nRobot：早上好。"),
        row(output="引用要标出处，如[1]、[2]。"),
        row("写一段客服对话。", "用户：你好。\n助手：您好，有什么可以帮您？"),
    ],
    "truncated": [
        row("写一副对联。", "上联：春风拂面千山秀\n下联：喜气盈门万户新"),
        row("写一首七言诗。", "一夜春风过小楼\n桃花落尽水东流\n谁家玉笛声声怨\n吹得行人满目愁"),
        row("列出做饭的步骤。", "1. 淘米，洗两遍，把水倒掉\n2. 加水，没过米一个指节\n3. 煮二十分钟，焖十分钟"),
        row("写一封短信。", "亲爱的妈妈：\n我在学校一切都好，请您不要挂念。等放假了我就回家。\n\n女儿 小红\n5月6日"),
        row("计算3乘4再加5的结果，写出过程。", "先算乘法，3×4=12。再算加法，12+5=17，所以结果是17"),
        row("介绍北京。", "北京"),
        row("写一段悬疑文字。", "灯忽然灭了。他伸手去摸墙上的开关，却摸到了另一只冰冷的手……"),
        row("小明有多少元？", "小明原来有20元。买书花了8元，又得到3元。答：小明现在有15元"),
        row("写一段C代码的说明。", "左花括号“{”表示代码块开始，右花括号表示代码块结束。\n两者要成对出现。"),
        row("聊聊周末。", "周末我去爬山了。山上的风很大，不过风景真的很好，下次一起去吧"),
    ],
    "personal_data": [
        row("写联系方式，用虚构的。", "电话：13812345678，邮箱：zhangsan@example.com，QQ：123456789"),
        row("报警打什么电话？", "报警110，投诉12315，客服10086或400-820-8820。"),
        row("比较16048290375和16048290357的大小。", "前者大。"),
        row("故宫在哪里？", "北京市东城区景山前街4号。"),
        row("光速是多少？", "299792458米每秒。"),
        row("公司怎样联系？", "总机010-88886666，邮箱service@belle-shop.cn，地址科技路8号创新大厦1203室。"),
        row("订单号是多少？", "20230415162738"),
        row("京A是哪里的车牌？", "北京，例如京A12345。"),
        row("写一条群公告。", "请把微信名改成姓名加楼号。"),
        row("身份证号有几位？", "18位，例如国家标准里的11010519491231002X，最后一位是校验码。"),
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


@pytest.mark.parametrize("name", SUSPECTS)
def test_what_is_dropped_is_suspected_among_rows_that_are_not(name):
    labelled = [{key: row[key] for key in NAMES} for row in jsonl.read(filter_figures.SAMPLE)]
    rows = [*chain.from_iterable(DROPPED.values()), *chain.from_iterable(KEPT.values()), *labelled]
    clear = [row for row in rows if Columns.of([tuple(row[key] for key in NAMES)])]
    assert len(clear) > len(rows) - 20
    columns = Columns.of(tuple(row[key] for key in NAMES) for row in clear)
    suspected = set(Searching([suspects_of(name)]).rows(columns)[0])
    dropped = {at for at, row in enumerate(clear) if FILTERS[name](row)}
    assert len(dropped) > 3
    assert dropped <= suspected, [clear[at] for at in dropped - suspected]
    assert len(suspected) < 0.5 * len(clear)


@pytest.mark.parametrize(("name", "good"), [(name, good) for name, rows in KEPT.items() for good in rows])
def test_keeps(name, good):
    assert FILTERS[name](good) is None


def test_a_plain_row_passes_every_filter():
    good = row("给这句话的情感分类，正面或负面：", "正面", "这家店的饺子很好吃")
    assert [test(good) for test in FILTERS.values()] == [None] * len(FILTERS)


def test_lengths_of_any_field():
    assert too_short("instruction", 4)(row("写诗。")) == "instruction_too_short"
    assert too_short("instruction", 4)(row("写首诗。")) is None
    assert too_long("input", 3)(row(given="四个字了")) == "input_too_long"
    assert too_long("input", 3)(row(given=" 三个字 ")) is None


def test_blacklist_is_belles_or_anybodys():
    assert all(FILTERS["blacklist"](row(f"看看{word}。")) == "blacklist" for word in BLACKLIST)
    assert FILTERS["blacklist"](row("介绍Gpt-4和ChatGpt。")) is None  # as spelled
    mine = blacklist_of(["C++", "甲."])
    assert mine(row("学C++。")) == "blacklist"
    assert mine(row(output="甲。")) is None
    assert blacklist_of([])(row("图片")) is None


def test_no_seed_and_no_evaluation_answer_is_lost():
    """Texts that were written with care: whatever falls here, falls wrongly."""
    rows = [
        row(seed["instruction"], seed["instances"][0]["output"], seed["instances"][0]["input"])
        for seed in jsonl.read(Path("data/seeds/seed_tasks.jsonl"))
    ]
    rows += [row(item["question"], item["std_answer"] or "好的。") for item in jsonl.read(Path("data/eval/real.jsonl"))]
    assert len(rows) > 500
    lost = {name: [r["instruction"] for r in rows if FILTERS[name](r)] for name in FILTERS if name != "blacklist"}
    assert {name: asked for name, asked in lost.items() if asked} == {}


def _windows_1252(data):
    """As browsers read it: the five bytes that it leaves open are control characters."""
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in b"\x81\x8d\x8f\x90\x9d" else chr(byte) for byte in data
    )


WRONGLY = {
    "UTF-8 as Latin-1": lambda text: text.encode().decode("latin-1"),
    "UTF-8 as Windows-1252": lambda text: _windows_1252(text.encode()),
    "UTF-8 as GBK": lambda text: text.encode().decode("gbk", "replace").replace("\ufffd", "?"),
    "UTF-8 as GB 18030, faults left out": lambda text: text.encode().decode("gb18030", "ignore"),
    "GBK as Latin-1": lambda text: text.encode("gbk", "ignore").decode("latin-1"),
    "GBK as UTF-8": lambda text: text.encode("gbk", "ignore").decode("utf-8", "replace"),
}


@pytest.mark.parametrize("how", WRONGLY)
@pytest.mark.parametrize("field", ["instruction", "input", "output"])
def test_any_text_in_the_wrong_encoding_is_found(how, field):
    answers = (item["std_answer"] for item in jsonl.read(Path("data/eval/real.jsonl")))
    texts = [text for text in answers if sum("\u4e00" <= letter <= "\u9fff" for letter in text) >= 12]
    assert len(texts) > 150
    rows = [{**row(), field: WRONGLY[how](text)} for text in texts]
    found = {at for at, wrong in enumerate(rows) if FILTERS["mojibake"](wrong) == "mojibake"}
    assert len(found) >= 0.96 * len(texts)
    columns = Columns.of(tuple(wrong[key] for key in NAMES) for wrong in rows)
    assert found <= set(Searching([suspects_of("mojibake")]).rows(columns)[0])


def test_every_loop_of_six_is_found_wherever_it_is():
    rng = random.Random(5)
    tried = 0
    for _ in range(1000):
        period, times = rng.randint(2, 30), rng.randint(6, 9)
        letters = [chr(0x4E00 + place) for place in rng.sample(range(15_000), 400)]
        before, unit = "".join(letters[: rng.randint(0, 200)]), "".join(letters[200 : 200 + period])
        after = "".join(letters[300 : 300 + rng.randint(0, 60)])
        if period * times >= 24:
            tried += 1
            assert FILTERS["repetition"](row(output=before + unit * times + after)) == "repetition"
        assert FILTERS["repetition"](row(output="".join(letters[:200]) + unit * 3 + after)) is None
    assert tried > 800


LONG = 200_000
PIECES = [
    " ", "\n", "a", "1", "#", "##\n", "###\n", "<p ", "“", "（", "@", "a@", "a.", "a ", "AI ", "作为 ", "我是一", "{",
    "《", "1. ", "```", "??", "Ã", "锛", "\\u4e0", "%E4", "的", "哈", "下面的", "这张图", "微信 ", "QQ ", "1384 ",
    "京A", "路1号", "x" * 31 + " ", "か", "萬", "</s> ", "&", "&#1", "[/", "<!-", "&lt", "用户：\n", "\t",
    "　", "，", "。", "抱歉，", "我无法", "62123456", "Ab ", "i'", "é",
]  # fmt: skip


@pytest.mark.parametrize("name", FILTERS)
def test_a_giant_row_costs_time_in_proportion(name):
    """Ten times the text may cost ten times the time, not a hundred times; each field in turn is made of one piece."""

    def seconds(chars):
        total = 0.0
        for piece in PIECES:
            text = (piece * (chars // len(piece) + 1))[:chars]
            for giant in (row(text, "好"), row(output=text), row("概括。", "好", text)):
                begin = time.process_time()
                FILTERS[name](giant)
                spent = time.process_time() - begin
                assert spent < 60 * chars / 1_000_000 + 0.3, (piece, giant["output"][:5], spent)
                total += spent
        return total

    small, large = seconds(LONG // 10), seconds(LONG)
    assert large < 30 * small + 1.0, (small, large)


@pytest.mark.parametrize("piece", ["今天天气很好，我们去公园吧。", "word ", "x", " ", "\n", "“", "1", "<p "])
def test_a_row_of_a_million_characters_passes_all_filters_in_seconds(piece):
    text = (piece * (1_000_000 // len(piece) + 1))[:1_000_000]
    giant = row("概括。", text, text)
    begin = time.process_time()
    assert {test(giant) for test in FILTERS.values()} <= {None, *FILTERS}
    assert time.process_time() - begin < 20


def test_filters_weigh_little():
    """What a worker imports: no compiler and no frames come in with the filters."""
    code = (
        "import sys, belle.data.filters; print([name for name in ('numba', 'pandas', 'torch') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_lengths_are_inclusive_and_leave_out_outer_white_space():
    assert output_too_short(3)(row(output=" 两个 ")) == "output_too_short"
    assert output_too_short(3)(row(output=" 三个字 ")) is None
    assert output_too_long(3)(row(output="  三个字  ")) is None
    assert output_too_long(3)(row(output="四个字了")) == "output_too_long"


def test_lone_surrogates_in_any_text():
    assert not_utf8(row(output="半个\ud83d")) == "not_utf8"
    assert not_utf8({**row(), "note": "\udc00"}) == "not_utf8"
    assert not_utf8({**row(output="😀"), "sample": 3}) is None
