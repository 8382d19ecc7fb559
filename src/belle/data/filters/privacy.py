"""The filter of personal data: what reaches or names one private person."""

import re
from collections.abc import Iterator

from belle.jsonl import Row

_DIGIT = re.compile(r"[0-9]")
_SEVEN_DIGITS = re.compile(r"[0-9]{3}[- ]?[0-9]{4}")
_NUMBER = re.compile(r"(?<![\d.+])(?:\+?86[- ]?|\(\+86\) ?)?(1[3-9]\d)[- ]?(\d{4})[- ]?(\d{4})(?![\d.]*\d)")
_CALLED = re.compile(
    r"电话|手机|联系|拨打|致电|来电|打|号码是|号是|微信|加我|短信|先生|女士|老师|收件|tel|phone|mobile|call|number"
    r"|\(\+86\)|\+86",
    re.IGNORECASE,
)
_OF_NUMBERS = re.compile(r"这个数|比较|整除|位数|大小|正则|数字|运单|单号")
_IDENTITY = re.compile(
    r"(?<![\dA-Za-z])([1-8]\d{5})((?:19|20)\d\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\d{3}[\dXx])(?![\dA-Za-z])"
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_EXAMPLE = "11010519491231002X"  # the one in the standard itself
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[12]")
_MAIL = re.compile(
    r"(?<![A-Za-z0-9._+-])([A-Za-z0-9._+-]{2,64})@((?:[A-Za-z0-9-]{1,63}\.){1,4}[A-Za-z]{2,24})(?![A-Za-z0-9-])"
)
_NOBODYS_DOMAIN = re.compile(
    r"(?:^|\.)(?:example|example\.\w+|test\.\w+|domain\.\w+|email\.\w+|company\.\w+|website\.\w+|abc\.\w+|xyz\.com"
    r"|xxx+\.\w+|yourcompany\.\w+|localhost|invalid)$",
    re.IGNORECASE,
)
_NOBODYS_MAIL = re.compile(
    r"(?:xx+|abc|test|user|username|name|your|my|example|someone|somebody|info|service|support|contact|admin|hr"
    r"|sales|help|jobs?|mail|email|office|no-?reply|alerts?|news|notice|notification|billing|kefu|tougao|bianji"
    r"|zhangsan|lisi|wangwu|zhaoliu|xiaoming|xiaohong|lihua|john|jane|tom|alice|bob)[\w.]*|\d*12345\d*|(\w)\1+",
    re.IGNORECASE,
)
_CARD = re.compile(r"(?<![\d.])(?:62|4\d|5[1-5])\d{2}(?:[ -]?\d{4}){2}[ -]?\d{3,4}(?:[ -]?\d{1,3})?(?![\d.]*\d)")
_OF_CARDS = re.compile(r"卡号|银行|账[户号]|帐[户号]|户名|汇[款入到]|转账|card", re.IGNORECASE)
_QQ = re.compile(r"QQ(?:号码?)?\s*(?:[:：]|是|为)?\s*([1-9]\d{4,10})(?!\d)", re.IGNORECASE)
_WECHAT = re.compile(
    r"(?:微信|薇信|威信|\bvx|\bwx)(?:号|ID|账号)?\s*(?:[:：]|是|为)\s*([A-Za-z][\w-]{4,19})", re.IGNORECASE
)
_NOBODYS_ID = re.compile(r"x{3,}|abc|12345|wechat|weixin|your|example|test|id$", re.IGNORECASE)
_PLATE = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][·•]?((?=[A-HJ-NP-Z]{0,5}\d)[A-HJ-NP-Z0-9]{5,6})(?![A-Za-z0-9])"
)
_HOME = re.compile(
    r"([\u4e00-\u9fff]{2,12}[路街道巷弄村园苑里])\d{1,5}号(?:院)?[^，。；\n]{0,16}?(?:\d{1,4}(?:栋|幢|号楼"
    r"|座)[^，。；\n]{0,8}?)?\d{2,4}(?:室|号房)"
)
_NOBODYS_HOME = re.compile(r"某|[Xx×*]{2}|大厦|大楼|写字楼|广场|公司|大学|学院|医院|办公")
_FICTIONAL = re.compile(r"12345|23456|34567|45678|56789|98765|87654|(\d)\1{4}|13800138000")


def personal_data(row: Row) -> str | None:
    """Drop a row with a private person's mobile number, identity card, e-mail, bank card, QQ, WeChat, plate or home.

    Identity cards and bank cards count with a right check digit only (GB 11643, Luhn). What is public or plainly
    made up stays: 110 and 400 numbers, landlines, example.com, service@, 13812345678, a street without a room.
    """
    text = f"{row['instruction']}\n{row['input']}\n{row['output']}"
    return "personal_data" if any(_found(text)) else None


def _found(text: str) -> Iterator[bool]:
    if "@" in text:
        yield any(_is_somebodys_mail(mail) for mail in _MAIL.finditer(text))
    if "信" in text or "vx" in text or "VX" in text or "wx" in text:
        yield any(not _NOBODYS_ID.search(found[1]) for found in _WECHAT.finditer(text))
    if not _DIGIT.search(text):
        return
    yield any(not _FICTIONAL.search(found[1]) for found in _PLATE.finditer(text))
    if ("号" in text and "室" in text) or "号房" in text:
        yield any(not _NOBODYS_HOME.search(found.group()) for found in _HOME.finditer(text))
    if "QQ" in text or "qq" in text:
        yield any(not _FICTIONAL.search(found[1]) for found in _QQ.finditer(text))
    if not _SEVEN_DIGITS.search(text):
        return
    yield any(_is_called(found, text) for found in _NUMBER.finditer(text))
    yield any(_is_identity("".join(found.groups())) for found in _IDENTITY.finditer(text))
    if _OF_CARDS.search(text):
        yield any(_passes_luhn(re.sub(r"\D", "", found.group())) for found in _CARD.finditer(text))


def _is_called(found: re.Match[str], text: str) -> bool:
    digits = found[1] + found[2] + found[3]
    if _FICTIONAL.search(digits):
        return False
    near = text[max(0, found.start() - 24) : found.end() + 12]
    return bool(_CALLED.search(near)) and not _OF_NUMBERS.search(near)


def _is_identity(digits: str) -> bool:
    if digits == _EXAMPLE or not _PROVINCE.match(digits) or _FICTIONAL.search(digits[:6] + digits[14:17]):
        return False
    total = sum(int(digit) * weight for digit, weight in zip(digits, _WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == digits[17].upper()


def _is_somebodys_mail(found: re.Match[str]) -> bool:
    return not _NOBODYS_DOMAIN.search(found[2]) and not _NOBODYS_MAIL.fullmatch(found[1])


def _passes_luhn(digits: str) -> bool:
    if _FICTIONAL.search(digits):
        return False
    doubled = (int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
