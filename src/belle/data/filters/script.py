"""Filters of language and script: questions and answers that are not in Chinese, or not in one script of it."""

import re

import numpy as np

from belle.data.filters.columns import Columns, Index
from belle.data.filters.row import IDEOGRAPH, LATIN, OF_CODE, OF_OTHER_LANGUAGE, has_english, question
from belle.data.filters.suspects import Suspects, without_soon
from belle.jsonl import Row

_LATIN_WORD = re.compile(f"[{LATIN}]+")
# Of other scripts than Latin and Chinese; raised, lowered and circled figures are no letters.
_FOREIGN_LETTER = re.compile(
    r"[^\W\d_\x00-\u024f\u2070-\u209f\u2150-\u218f\u2460-\u24ff\u3220-\u33ff\u3400-\u9fff\uf900-\ufaff]"
)
# Ideographs, punctuation and figures: nothing that could outweigh the ideographs.
_NO_LETTERS = re.compile(r"[\u4e00-\u9fff\t\n\x20-\x40\x5b-\x60\x7b-\x7e\u2010-\u2027\u3000-\u3020\uff00-\uff20·×÷]*")
# Where there is none of these, there is no letter of another script either.
_SCRIPT = re.compile(r"[\u0250-\u1fff\u2c00-\u2dff\u3005-\u3007\u3031-\u31ff\ua000-\ud7ff\uf900-\uffff]")
_QUESTION = 200
_MANY_LETTERS = 8
_FEW_IDEOGRAPHS = 4


def not_chinese(row: Row) -> str | None:
    """Drop a question that is mostly in another language, or an answer that is and should not be.

    A question is Chinese with at least one ideograph for three English words, and no more letters of other
    scripts than ideographs, or if it is about a language (translations). An answer without an ideograph stays
    unless it has a run of 8 English words, half of them in lower case, or 8 letters of another script, and the
    question speaks neither of code nor of a language. Text without letters (3+5=?) stays. Of a question the
    first 200 characters tell.
    """
    instruction, output = row["instruction"], row["output"]
    if not _NO_LETTERS.fullmatch(instruction, 0, _QUESTION) and _is_foreign(instruction[:_QUESTION]):
        return "not_chinese"
    if IDEOGRAPH.search(output):
        return None
    asked = question(row)
    if OF_CODE.search(asked) or OF_OTHER_LANGUAGE.search(asked):
        return None
    if len(_FOREIGN_LETTER.findall(output)) >= _MANY_LETTERS:
        return "not_chinese"
    return "not_chinese" if has_english(output) else None


def not_chinese_suspects() -> Suspects:
    """Rows with letters in the question, or without an ideograph where the answer begins."""

    def asked_with_letters(columns: Columns) -> Index:
        only = _NO_LETTERS.fullmatch
        return np.array(
            [row for row, (asked, _, _) in enumerate(columns.texts) if not only(asked, 0, _QUESTION)], np.int64
        )

    return Suspects(shapes=(asked_with_letters, without_soon(IDEOGRAPH)))


def _is_foreign(asked: str) -> bool:
    ideographs = len(IDEOGRAPH.findall(asked))
    letters = len(_FOREIGN_LETTER.findall(asked)) if _SCRIPT.search(asked) else 0
    if letters <= ideographs and len(_LATIN_WORD.findall(asked)) <= 3 * ideographs:
        return False
    brings_code = ideographs >= _FEW_IDEOGRAPHS and OF_CODE.search(asked)
    return not brings_code and not OF_OTHER_LANGUAGE.search(asked)


_OF_LATIN_TEXT = re.compile(r"日志|报错|错误信息|提交|语法|词性|单复数|时态|拼写|域名|文言")


def foreign_input(row: Row) -> str | None:
    """Drop a Chinese question about an English text (or one in another script) that is not about language or code.

    BELLE's 1M set was cleaned of these. What is about a translation, a language, a log or a grammar stays.
    """
    given = row["input"]
    if not given or IDEOGRAPH.search(given):
        return None
    instruction = row["instruction"]
    if not IDEOGRAPH.search(instruction):
        return None
    if OF_CODE.search(instruction) or OF_OTHER_LANGUAGE.search(instruction) or _OF_LATIN_TEXT.search(instruction):
        return None
    foreign = has_english(given) or len(_FOREIGN_LETTER.findall(given)) >= _MANY_LETTERS
    return "foreign_input" if foreign else None


_OTHER_SCRIPT = re.compile(
    r"[\u3041-\u3096\u30a1-\u30fa\u30fc]{2,}|[\uac00-\ud7a3]{2,}|[\u0400-\u04ff]{2,}|[\u0e01-\u0e39\u0e40-\u0e4e]{2,}"
    r"|[\u0621-\u064a]{2,}|[\u0370-\u03ff]{4,}|[\u05d0-\u05ea]{2,}|[\u0900-\u097f]{2,}"
)
_STRANGE = re.compile(
    r"[\u0370-\u03ff\u0400-\u04ff\u05d0-\u05ea\u0621-\u064a\u0900-\u097f\u0e01-\u0e4e\u3041-\u30fc\uac00-\ud7a3]"
)
_OF_OTHER_SCRIPT = re.compile(
    r"[日韩俄泰藏蒙]语|[日韩俄泰]文|希腊|希伯来|阿拉伯|印地|梵|假名|谚文|字母|外[语文来]|翻译|译[成为作]|原名|又称"
    r"|日本|韩国|朝鲜|俄罗斯|苏联|乌克兰|泰国"
    r"|符号|颜文字|表情|动漫|读作|写作|单词|词源|招牌|口号"
)


def mixed_script(row: Row) -> str | None:
    """Drop a Chinese answer with a run of kana, Hangul, Cyrillic, … in it that nothing in the row accounts for.

    It stays where the question has that script too, or the row speaks of a language, a country or symbols.
    """
    output = row["output"]
    if not _STRANGE.search(output) or not _OTHER_SCRIPT.search(output) or not IDEOGRAPH.search(output):
        return None
    asked = question(row)
    if _OTHER_SCRIPT.search(asked) or _OF_OTHER_SCRIPT.search(asked) or _OF_OTHER_SCRIPT.search(output):
        return None
    return "mixed_script"


# Common characters that the simplified script does not use; those that both use (著, 乾, 於, 瞭) are left out.
_TRADITIONAL = re.compile(
    "["
    "萬與專業叢東絲兩嚴喪個豐臨為麗舉義烏樂喬習鄉書買亂爭虧雲亞產畝親億僅從侖倉儀們價眾優會傘偉傳傷倫偽體餘傭俠侶偵側僑儉債傾償儲兒兌黨蘭關興養獸內岡"
    "冊寫軍農馮沖決況凍淨涼減湊凜幾鳳憑凱擊鑿劃劉則剛創刪別劇勸辦務動勵勁勞勢勳匯區醫華協單賣盧衛卻廠廳曆厲壓厭參雙發變敘葉號嘆嚇嗎啟吳員聽響啞喚問嘗"
    "嘩團園圍國圖圓聖場壞塊堅壇壩墳墜壘墾壯聲殼壺處備夠頭夾奪奮獎婦媽嬌娛孫學寧寶實寵審憲宮寬賓對尋導將爾塵層屬歲豈島嶺嶽巖帥師帳帶幫幹庫應廟廢廣張彌"
    "彎彈強歸當錄徑徹懷態慣慘慶憂憶懇懸戀戲戰戶撲執擴掃揚換損搖搶擁擇擔據擠揮撓擬擾攜攝敵數斷無舊時曠晝顯曉暫術機殺雜權條來楊極構標棟樹樣橋檢樓歐歡歷"
    "殘毀氣漢湯溝沒滅燈靈災爐點煉燒熱愛爺牆獨獄獅環現瑪瓊電畫暢療瘋皺盞鹽監蓋盤睜確礎礙禮禍離種積稱穩窮競筆簡類糧緊紀約紅紋納純紙級紛細組終結給絕統經"
    "綠維綱網緒線練編緩縣縮總績織繞繪繼續纖罰羅聯聰職肅脈腦膚臉膽勝臺艦藝節蘇蘋莊藍藥蟲補裝製複見規視覺覽觀觸計訂討訓託記訪設許訴評詞話該詳語誤說誰課"
    "調談請論諸諾謀謝講證識譯議護讀讓豬貝負財責敗貨質貴費資賀賜賞賠購賽贈贊趙趕躍軌軟轉輪輕載較輛輝輸辭邊達過運進還這連遠適選遷遺鄰鄧釋鈔銀銅錢鋼錯鍋"
    "鍵鎖鎮鏡鐘鐵長門閃開間閱闊陣陽陰陳階際隨險隱雖難雞靜頂項順須預領頻題額顏願風飛飯飲飽飾館馬駕騎騙驗驚鬆魚鮮鳥鳴鴨鵝麥黃齊齒龍龜滿潔灣潤溫濟濃準淺"
    "測渦潑湧濕濤牠蔔衝裡擺攤曬潛澤濾熾獲獻異竅築篩籃糾絡綜纏罵羨翹聞聳臘艙萊營蕭薩蠟蠶襪訊詢詩詠詐誠誘誇諒謎謹譜譽貓賴賺趨跡蹟踴軀輔輯轟遞遲遼郵醞醬"
    "釀針釘鉤銷鋒鋪鋸鑰鑽閉閒閣陸隊隸靂韻頁頑頌頓頗頸顆飄餅餓駐騰驕驅鬥鬧魯鯨鹹麵壽夢奧孃屍慮慾懶擋晉暈柵棗榮槍樁檔櫃歎淚漁漲潰澆煙煩牽狀猶瑣疊瘡癢盜"
    "碼祕稅穀竊籌紮綁緣縱繫缽脅膠臟蓮蔣虛裏褲訝詭賤贏軸輩迴逕遊醜鈣鈴鉛錦鍛鏈鏟閘閩闖闢隻雛霧韓頒飢飼駱駝驢髒髮鬍鬚鮑鴿鷹"
    "]"
)
_OF_TRADITIONAL = re.compile(r"[繁正][体體]|简[体化]|簡[體化]|异体|粤|粵|古籍|书法|碑|日[文语本]|漢字|汉字|篆|港台")
_HEAD = 2000


def traditional(row: Row) -> str | None:
    """Drop a question or an answer in traditional characters, for a set in simplified ones.

    Two of them and a tenth of a text's ideographs make it traditional; titles in 《》 do not count, and what is
    about the script stays. Only the first 2,000 characters are looked at.
    """
    for text in (row["instruction"], row["input"], row["output"]):
        text = text[:_HEAD]
        if not _TRADITIONAL.search(text):
            continue
        text = _TITLE.sub("", text)
        found = len(_TRADITIONAL.findall(text))
        if found >= 2 and 10 * found >= len(IDEOGRAPH.findall(text)):
            return None if _OF_TRADITIONAL.search(row["instruction"]) else "traditional"
    return None


_TITLE = re.compile(r"《[^》\n]{0,40}》")
