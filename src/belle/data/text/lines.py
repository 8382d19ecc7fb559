"""Filters for one line of a web page: each returns the reason to drop it, or None.

What they look for is what a page says about itself (menus, notices, links), not what its text is about: a sentence that
speaks of cookies or of ICP numbers stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LineFilter = Callable[[str], str | None]

SENTENCE_ENDS = "。！？!?…；;：:”’」』）)】.．~～"
"""What a line of text can end with."""

_ENDS_SENTENCE = re.compile(r"[。！？!?…][”’」』）)】]*$")
_SEPARATORS = re.compile(r"\s*(?:[>＞»›|｜┊•→/／]|&gt;|--+)\s*|\s{2,}|\t|\u3000")
_MARKER = re.compile(
    r"^[\s>＞»【\[◆■●▶]*(?:"
    r"(?:上|下|前|后)一[篇页章条](?:\s*[:：]|\s|$)"
    r"|(?:返回|回到)(?:首页|顶部|列表|上页|目录|上一页)"
    r"|(?:您|你)?(?:现在|当前)?的?(?:所在)?(?:的)?位置[:：]"
    r"|(?:相关|热门|推荐|延伸)(?:阅读|文章|推荐|新闻|链接|专题)[:：]?\s*$"
    r"|猜(?:你|您)喜欢|(?:点击|点此)?(?:阅读|查看|展开|进入)(?:全文|原文|更多|详情|余下)[^，。]{0,8}$"
    r"|(?:登录|注册)\s*[/|｜]?\s*(?:登录|注册)|设为首页|加入收藏|网站地图|分享到|打印本页|关闭窗口"
    r"|(?:首页|尾页|末页)\s"
    r")"
)
_NOTICE = re.compile(
    r"[京沪津渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼]\s?(?:ICP|公网安)\s?[备证]"
    r"|ICP[备证]\s?\d{5,}|公网安备\s?\d+"
    r"|(?:版权所有(?![人者权的])|copyright\s*(?:©|\(c\)|\d{4})|©\s*\d{4}|all rights reserved)"
    r"|^.{0,12}(?:使用|启用|接受).{0,6}cookies?.{0,24}(?:体验|同意|接受|政策|设置|继续)"
    r"|^(?:接受|拒绝|同意|管理)(?:所有|全部)?\s*cookies?"
    r"|未经.{0,10}(?:授权|许可|同意|允许).{0,10}(?:不得|禁止|严禁|请勿).{0,6}(?:转载|复制|使用)"
    r"|(?:扫描|长按|识别).{0,10}二维码|(?:关注|搜索).{0,8}(?:微信)?公众号"
    r"|^\s*[（(\[【]?(?:责任编辑|责编|编辑|来源|作者|审核|校对|发布时间|发布日期|浏览次数|阅读次数|点击数)[:：].{0,40}$"
    r"|^\s*(?:免责声明|隐私政策|服务条款|用户协议|联系我们|关于我们|广告服务|友情链接)[:：]?"
    r"(?:\s*[|｜·]?\s*(?:免责声明|隐私政策|服务条款|用户协议|联系我们|关于我们|广告服务|友情链接))*\s*$"
    r"|(?:客服|咨询|联系)(?:电话|热线|QQ)\s*[:：]\s*[\d-]{5,}|加(?:我)?微信\s*[:：]?\s*[A-Za-z0-9_-]{5,}",
    re.IGNORECASE,
)
_LONGEST_NOTICE = 120
_URL = re.compile(r"(?:https?://|www\.)[^\s，。、；）)】》\u4e00-\u9fff]+", re.IGNORECASE)
_LETTER = re.compile(r"[^\W_]")
_OF_SENTENCES = re.compile(r"[\s，。、；：？！“”‘’（）《》「」『』…]")
_LONGEST_MENU_WORD = 10


def line_empty(line: str) -> str | None:
    """Drop a line of white space."""
    return None if line.strip() else "line_empty"


def line_navigation(line: str) -> str | None:
    """Drop menus, breadcrumbs (首页 > 新闻 > 正文), pagers and pointers to other pages.

    A menu is four short words or more between separators, with nothing that ends a sentence.
    """
    text = line.strip()
    if _ENDS_SENTENCE.search(text):
        return None
    if _MARKER.match(text):
        return "line_navigation"
    words = [word for word in _SEPARATORS.split(text) if word]
    menu = len(words) >= 4 and max(map(len, words)) <= _LONGEST_MENU_WORD and not re.search(r"[，,。；;、：:=+]", text)
    return "line_navigation" if menu and not re.fullmatch(r"[\d\s.,%|/-]+", text) else None


def line_notice(line: str) -> str | None:
    """Drop what a site says of itself: ICP numbers, copyright, cookies, reprinting, editors, contacts.

    A line of more than 120 characters stays: it has more to say.
    """
    return "line_notice" if len(line) <= _LONGEST_NOTICE and _NOTICE.search(line) else None


def line_links(line: str) -> str | None:
    """Drop a line that is links for the most part, or has three or more of them."""
    links = _URL.findall(line)
    if not links:
        return None
    letters = len(_LETTER.findall(_URL.sub("", line)))
    return "line_links" if len(links) >= 3 or letters < sum(map(len, links)) / 4 else None


def line_symbols(min_letter_share: float) -> LineFilter:
    """Make the filter that drops a line of symbols: less than this share of letters and digits, or none at all.

    Spaces and the punctuation of Chinese sentences are counted neither way: dialogue is full of it.
    """

    def filter_(line: str) -> str | None:
        letters = len(_LETTER.findall(line))
        size = len(line) - len(_OF_SENTENCES.findall(line))
        return "line_symbols" if not letters or letters < min_letter_share * size else None

    return filter_


def line_short(min_chars: int) -> LineFilter:
    """Make the filter that drops a line of fewer letters and digits, unless it ends as a sentence does (“好。”)."""

    def filter_(line: str) -> str | None:
        short = len(_LETTER.findall(line)) < min_chars and not _ENDS_SENTENCE.search(line.strip())
        return "line_short" if short else None

    return filter_
