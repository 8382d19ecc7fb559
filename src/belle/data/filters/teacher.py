"""Filters of answers in which the teacher speaks for itself: who it is, what it will not do, what it lacks."""

import re

from belle.data.filters.columns import OUTPUT
from belle.data.filters.row import OF_OTHER_LANGUAGE, question
from belle.data.filters.suspects import Signs, Suspects, begins
from belle.jsonl import Row

_A = r"(?:一|一个|一名|一款|一位|一种|一台)?\s*"
_AI = r"(?:[Aa][Ii]|人工智能)"
_ASSISTANT = r"(?:语言|对话|聊天)?(?:模型|助手|助理|程序|系统|机器人)"
_CLAIM = re.compile(
    rf"(?:作为|身为){_A}(?:{_AI}(?:\s*[，,]|\s*我|的?\s*{_ASSISTANT})|[^，。\n]{{0,8}}语言模型)"
    rf"|我(?:只|仅|仅仅|就)?是{_A}(?:{_AI}\s*(?:[，,。]|{_ASSISTANT})|[^，。\n]{{0,8}}语言模型)"
    rf"|我[^，。\n]{{0,8}}属于{_AI}\s*{_ASSISTANT}"
    r"|我的(?:训练数据|知识库?|数据库?)[^。\n]{0,8}截[止至]"
)
_CLAIM_OF_OPENAI = re.compile(
    r"(?:GPT|gpt|[Oo]pen[Aa][Ii])\s*(?:语言)?(?:模型|训练|开发)|由\s*[Oo]pen[Aa][Ii]|我(?:叫|是|的名字是)\s*ChatGPT"
)
_CLAIM_IN_ENGLISH = re.compile(
    r"\b[Aa]s an? (?:large |AI )*[Ll]anguage [Mm]odel\b|\b[Aa]s an AI\b"
    r"|\bI(?:'m| am) an? (?:AI|(?:large )?language model)\b"
)
# A figure of a story may say so of itself.
_CLAIM_OF_A_ROLE = re.compile(
    rf"我(?:只|仅|仅仅|就)?是{_A}(?:[^，。\n]{{0,12}}(?:聊天机器人|对话模型|(?:虚拟|智能)助[手理])"
    r"|(?:计算机|电脑)程序(?!员|设计))"
    rf"|(?:作为|身为){_A}(?:机器|机器人|计算机程序|电脑程序|虚拟助[手理])\s*[，,]\s*我"
)
_ROLE = re.compile(r"口吻|扮演|角色|台词|小说|故事|剧本|科幻|对话|独白|童话|演讲|第一人称|机器人")
_OF_DISKS = re.compile(r"分区|磁盘|硬盘|MBR|UEFI|引导", re.IGNORECASE)


def gpt_self_reference(row: Row) -> str | None:
    """Drop an answer in which the teacher speaks of itself (作为AI语言模型…), or a question that names GPT.

    A text about artificial intelligence stays, so does a figure of a story that is a robot, and so do disks with a
    GPT. An answer about a GPT模型, or what OpenAI trained, goes, as with BELLE.
    """
    output, asked, given = row["output"], row["instruction"], row["input"]
    if _claims(output, asked):
        return "gpt_self_reference"
    if "GPT" in asked or "gpt" in asked or "GPT" in given or "gpt" in given:
        return None if _OF_DISKS.search(question(row)) else "gpt_self_reference"
    return None


def _claims(output: str, asked: str) -> bool:
    # A single character is found many times faster than a word or a pattern; each pattern needs some of these.
    if "我" in output or "作" in output or "身" in output:
        names_ai = "智" in output or "I" in output or ("i" in output and "ai" in output)
        if (names_ai or "型" in output or "截" in output) and _CLAIM.search(output):
            return True
        names_machine = (
            ("器" in output and "机器" in output)
            or ("程" in output and "程序" in output)
            or ("助" in output and ("助手" in output or "助理" in output))
            or ("型" in output and "对话模型" in output)
        )
        if names_machine and _CLAIM_OF_A_ROLE.search(output) and not _ROLE.search(asked):
            return True
    names_gpt = ("G" in output and "GPT" in output) or ("g" in output and "gpt" in output)
    if (names_gpt or ("p" in output and "pen" in output)) and _CLAIM_OF_OPENAI.search(output):
        return True
    in_english = ("I" in output and "AI" in output) or ("g" in output and "anguage" in output)
    return in_english and _CLAIM_IN_ENGLISH.search(output) is not None


def gpt_self_reference_suspects() -> Suspects:
    """Rows with what each claim has in it, or with GPT in the question."""
    claims = Signs(
        "AI", "Ai", "aI", "ai", "智能", "模型", "截止", "截至", "机器", "助手", "助理", "程序", "Model", "model",
        fields=(OUTPUT,),
    )  # fmt: skip
    return Suspects((claims, Signs("GPT", "gpt")))


_CANNOT = r"(?:无法|不能|没有办法|没办法|没法|不便|不可以)"
_SERVE = (
    r"(?:回答|提供|完成|处理|理解|执行|满足|确定|判断|生成|访问|查看|识别|给出|浏览|协助|帮助|帮您|帮你|为您|为你|预测"
    r"|进行|从|模仿|评价|讲|写|查阅|翻译|创作|创建|撰写|编写|描述|显示|打开|播放|获取|扮演|推荐|分析|计算|总结"
    r"|概括|提取)"
)
_SORRY = r"(?:非常|十分|很|真的)?(?:抱歉|对不起|不好意思|遗憾)"
# "We" and "our shop" speak for somebody in the text; "I", or nobody, is the teacher.
_NOT_OURS = r"(?:(?!我们|本店|本公司|我司|订单|退款|商品)[^。！!？\n])"
_REFUSAL = re.compile(
    rf"\s*(?:{_SORRY}{_NOT_OURS}{{0,30}}?{_CANNOT}[^。！!，\n]{{0,6}}?{_SERVE}"
    rf"|{_SORRY}[，,][^。\n]{{0,20}}(?:我做不到|我不会|超出了?我的)"
    rf"|(?:作为[^，。\n]{{0,12}}(?:AI|人工智能|模型|助手|机器人)[^，。\n]{{0,4}}[，,]\s*)?我{_CANNOT}{_SERVE}"
    rf"|我没有[^。\n]{{0,20}}(?:信息|资料|数据)[，,][^。\n]{{0,4}}{_CANNOT}"
    rf"|我(?:并)?不是[^，。\n]{{1,6}}，[^。\n]{{0,4}}{_CANNOT}{_SERVE}"
    rf"|(?:这个|该|此)(?:问题|请求|任务|要求)(?:我)?(?:{_CANNOT}(?:回答|完成|处理)|超出了?我的)"
    r"|(?:I'?m sorry|Sorry)[,.]? (?:but )?I (?:can(?:no|')t|am unable))",
    re.IGNORECASE,
)
_REFUSAL_BEGINS = frozenset("抱对不遗非十很真我这该此作IiSs")


def refusal(row: Row) -> str | None:
    """Drop an answer that begins by declining the task; an apology that is the task stays."""
    output = row["output"]
    if output[:1] not in _REFUSAL_BEGINS and not output[:1].isspace():
        return None
    found = _REFUSAL.match(output)
    if not found or (found.group().isascii() and OF_OTHER_LANGUAGE.search(question(row))):
        return None
    return "refusal"


def refusal_suspects() -> Suspects:
    """Rows whose answer begins with what a refusal begins with."""
    return Suspects(shapes=(begins(rf"[\s{''.join(sorted(_REFUSAL_BEGINS))}]"),))


_ASKS_BACK = re.compile(
    rf"\s*(?:(?:您好|你好|好的|当然|没问题|{_SORRY})[，,。！!]\s*)?"
    r"(?:请(?:问)?(?:您|你)?(?:先|再)?(?:提供|输入|给出|补充|上传|发送|告诉我|告知|把[^。\n]{1,12}发给我)"
    r"|请问(?:您|你)[^。\n]{0,20}[？?]"
    r"|可以(?:告诉我|提供)[^。\n]{1,24}[？?]"
    r"|(?:您|你)?(?:没有|还没有|未|并未)(?:提供|给出|输入|说明|看到|收到)"
    r"|[^。，\n]{0,8}没有(?:提供|给出)[^。\n]{0,8}，\s*请(?:您|你)?(?:先)?(?:补充|提供|输入)"
    r"|(?:由于|因为)?(?:没有|未|缺少|缺乏)(?:提供|给出|具体|足够)?的?(?:输入|上下文|原文|文本内容|新闻内容))"
)
_WORDS_FOR_OTHERS = re.compile(r"提示|用语|话术|客服|标语|台词|对话|一句|招聘|通知")
_SHORT_ANSWER = 60


def asks_back(row: Row) -> str | None:
    """Drop a short answer that asks for the input (请提供需要翻译的句子); a row with an input stays."""
    output = row["output"].strip()
    if len(output) > _SHORT_ANSWER or row["input"].strip() or not _ASKS_BACK.match(output):
        return None
    return None if _WORDS_FOR_OTHERS.search(row["instruction"]) else "asks_back"
