"""Filters of tasks that no text can do: what must be seen, fetched or done in the world, or was never given."""

import re
from collections.abc import Iterable

from belle.data.filters.row import OF_CODE, Filter
from belle.data.filters.suspects import Signs, Suspects
from belle.data.selfinstruct import BLACKLIST
from belle.jsonl import Row


def blacklist_of(words: Iterable[str]) -> Filter:
    """Make the filter ``blacklist``: it drops a row with one of ``words`` in it, as they are spelled."""
    search = re.compile("|".join(map(re.escape, words)) or r"(?!)").search

    def blacklist(row: Row) -> str | None:
        return "blacklist" if search(f"{row['instruction']}\n{row['input']}\n{row['output']}") else None

    return blacklist


def blacklist(row: Row) -> str | None:
    """Drop a row with one of BELLE's words in it (图片, 文件, 链接, http, …), be it a fault or not.

    This is the list that BELLE's generation used, spelled as there; ``unanswerable`` looks at what is asked.
    """
    return _belles(row)


_belles = blacklist_of(BLACKLIST)


def blacklist_suspects(words: Iterable[str] = BLACKLIST) -> Suspects:
    """Rows with one of ``words``, as far as two characters tell."""
    return Suspects((Signs(*filter(None, words)),))


_HEAD = 160
_SHORT_INPUT = 40
_QUOTED = re.compile(r"“[^”\n]{0,80}”|「[^」\n]{0,80}」|《[^》\n]{0,80}》|\"[^\"\n]{0,80}\"")
_SEEN = (
    r"(?:图片|照片|图像|图画|插图|配图|漫画|视频|音频|录音|截图|[折曲直]线图|柱[状形]图|饼状?图|图表|地图|海报"
    r"|链接|网址|网页|附件|PDF|Word文档|Excel文?件?|PPT|文件|[画图](?=[，。：:的中里所回]|$))"
)
_POINTS = (
    r"(?:下面|以下|下列|上面|上述|给定|给出|所给|提供|上传|附上|我的|下)"
    r"(?:的|这)?(?:[一这]?[张幅个段份篇些])?|[这该此][张个段份]|[这该此]幅(?=[图画])"
)
_UNSEEN = re.compile(
    rf"(?:{_POINTS})(?:[^，。、：\n]{{0,4}}?){_SEEN}"
    r"|[这该此]幅[图画]|如[下上]?图|[下上]图|图中|图片中|照片中|视频中|看图|从?附件[中里的]|上传的"
    r"|我电脑[上里中]|我手机(?:上|里|中)|我冰箱里"
)
_NOW = r"(?:今天|今日|现在|目前|当前|此刻|明天(?!股)|最新|实时|最近)"
_LIVE = (
    r"(?:天气|气温|温度|几点|几号|几月|日期|星期几|周几|新闻|头条|股价|股市|汇率|油价|金价|房价|热搜|疫情|比分"
    r"|航班|车票|车次|票房)"
)
_OF_THE_HOUR = re.compile(
    rf"{_NOW}[^，。？?\n]{{0,10}}{_LIVE}|{_LIVE}[^，。？?\n]{{0,4}}(?:是多少|怎么样)?[^，。？?\n]{{0,4}}{_NOW}"
    rf"|我现在在哪"
)
_DEED = re.compile(
    r"(?:请|帮我|帮忙|麻烦|你|替我)*(?:(?:给[^，。\n]{1,8}发(?:一|送)?[封个条份]?(?:邮件|短信|微信|消息)"
    r"|(?:打|拨打)电话给|播放|设(?:置|定|个)?[^，。\n]{0,12}闹钟"
    r"|[预订]+[一两]?[张间个份][^，。\n]{0,8}(?:票|房|座|餐|位)|叫一?辆?车|转账"
    r"|(?:在网上|上网|在百度)(?:搜|查)|搜索附近|查一下[^，。\n]{0,16}(?:票|航班|快递|天气|余额)|运行我))"
)
_TEXT_WANTED = re.compile(
    r"写|编|造句|作文|日记|译|改|润色|如何|怎样|怎么(?!样)|为什么|方法|步骤|想象|想出|给出几|标题|题目"
)
_BROUGHT_ALONG = re.compile(r"[:：\n].{12,}", re.DOTALL)
_BY_SIGHT = re.compile(
    r"(?:根据|观看|看看?|描述|总结|概括|给|为|听)(?:[下这该此]|以下|上传|给[出定])[^，。\n]{0,5}"
    r"(?:图|照片|视频|音频|画|录音)"
)
# Each pattern needs one of these.
_HINT_OF_SIGHT = re.compile(r"[图照画频录报链网附件档传脑机箱PE]")
_HINT_OF_HOUR = re.compile(r"[今现目当此明最实]")


def unanswerable(row: Row) -> str | None:
    """Drop a task that needs a picture, a file, a link, this day's facts, or a deed (播放音乐); no text can do it.

    A row stays whose input tells what there is to see, or that asks how such a thing is done, about code, or for
    a text about it; so do words in quotation marks. The first 160 characters of the instruction are looked at.
    """
    instruction = row["instruction"][:_HEAD]
    given = row["input"].strip()
    if len(given) <= _SHORT_INPUT and _HINT_OF_SIGHT.search(instruction):
        asked = _QUOTED.sub("", instruction)
        seen = _UNSEEN.search(asked)
        if seen and not _BROUGHT_ALONG.search(asked):
            # "Write a program that reads this file" wants a text; "from this picture, write a story" the picture.
            wants_text = _TEXT_WANTED.search(asked, 0, seen.start()) or OF_CODE.search(asked)
            if given or not wants_text or _BY_SIGHT.search(asked):
                return "unanswerable"
    if given:
        return None
    if _HINT_OF_HOUR.search(instruction):
        asked = _QUOTED.sub("", instruction)
        # With figures, the hour or the day is given ("it is 3 o'clock in London, …").
        if _OF_THE_HOUR.search(asked) and not (
            _TEXT_WANTED.search(asked) or OF_CODE.search(asked) or any(map(str.isdecimal, asked))
        ):
            return "unanswerable"
    return "unanswerable" if _DEED.match(instruction) and not OF_CODE.search(instruction) else None


_NOUN = (
    r"(?:[一这两三几]?[个句段篇条组首则封份些道种]?的?)(?:[^，。：:\n]{0,4}?)"
    r"(?:句子|语句|话|段落|文章|文本|文字|短文|短句|内容|对话|新闻|报道|故事|诗|词语|词组|单词|词|数字|数列|式子"
    r"|方程|算式|代码|评论|邮件|信息|条件|材料|问题|题目|列表|表格|数据|图表|英文|中文|陈述|情景|场景|描述|选项|关键词|标题|主题|事件"
    r"|文段|摘要|简历|论文)"
)
_GIVEN = re.compile(
    rf"(?:下面|以下|下列|下述|上述|上面|以上|给定|给出的|所给的?|提供的){_NOUN}"
    r"|这(?:段(?:话|文字|代码|对话|内容|新闻|文本|英文|描述)?|篇(?:文章|短文|报道|论文|新闻)|句话|个句子|首诗|封信"
    r"|封邮件|[则条]新闻|条评论|道题|组数[据字]|些词语?)"
    r"|[在从出据取](?:上文|文章|短文|材料|原文|文中|段落|文本)(?:中|里|的|，|。|回|内)|^这个问题的|根据关键词|给的?文章"
)
_POINTER_HINTS = re.compile(r"[下上给这供文材段键]")
_CONTENT_AFTER = re.compile(r"(?:[:：\n—“「\"（(]|\\n).{2}|[？?。！].{4}", re.DOTALL)
_LONGEST = 60
# Before the words that point at a text: nothing need be given for these.
_NEEDS_NOTHING = re.compile(r"写出下面|如何|怎样|怎么|为什么|给出一|写一篇短文，")


def input_missing(row: Row) -> str | None:
    """Drop an instruction about a text that was not given (翻译下面的句子, and no input); BELLE's "bad input".

    An instruction stays that brings its text along: after a colon, in quotation marks, on further lines.
    """
    instruction = row["instruction"].strip()
    if len(instruction) > _LONGEST or row["input"].strip():
        return None
    if not _POINTER_HINTS.search(instruction) or "\n" in instruction:
        return None
    asked = _QUOTED.sub("“”", instruction)
    given = _GIVEN.search(asked)
    if not given or _NEEDS_NOTHING.search(asked, 0, given.start()) or "“”" in asked or _UNSEEN.search(asked):
        return None
    return None if _CONTENT_AFTER.search(asked, given.end()) else "input_missing"
