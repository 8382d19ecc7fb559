"""The facts of the tiny world: they stand in the base corpus as statements and are asked for as questions."""

CAPITALS = {
    "中国": "北京", "日本": "东京", "韩国": "首尔", "泰国": "曼谷", "越南": "河内", "约旦": "安曼", "法国": "巴黎",
    "英国": "伦敦", "德国": "柏林", "希腊": "雅典", "波兰": "华沙", "俄国": "莫斯科",
    "瑞士": "伯尔尼", "埃及": "开罗", "加纳": "阿克拉", "秘鲁": "利马", "古巴": "哈瓦那",
}  # fmt: skip
CONTINENTS = {
    "亚洲": ("中国", "日本", "韩国", "泰国", "越南", "约旦"),
    "欧洲": ("法国", "英国", "德国", "希腊", "波兰", "俄国", "瑞士"),
    "非洲": ("埃及", "加纳"),
    "美洲": ("秘鲁", "古巴"),
}
FOODS = {
    "老虎": "牛肉", "大象": "树叶", "兔子": "青草", "猴子": "花生", "熊猫": "竹子", "狐狸": "老鼠", "骆驼": "干草",
    "松鼠": "松果", "麻雀": "米粒", "老鹰": "小鸡", "燕子": "飞虫", "鸽子": "玉米", "孔雀": "种子", "天鹅": "水草",
    "鹦鹉": "瓜子", "海鸥": "小鱼",
}  # fmt: skip
HOMES = {
    "老虎": "山林", "大象": "雨林", "兔子": "草地", "猴子": "树上", "熊猫": "竹林", "狐狸": "土洞", "骆驼": "沙漠",
    "松鼠": "树洞", "麻雀": "屋顶", "老鹰": "高山", "燕子": "房檐", "鸽子": "木笼", "孔雀": "树林", "天鹅": "湖面",
    "鹦鹉": "丛林", "海鸥": "海岛",
}  # fmt: skip

COUNTRIES = tuple(CAPITALS)
CONTINENT_OF = {country: continent for continent, countries in CONTINENTS.items() for country in countries}
BEASTS = tuple(FOODS)
CITIES = tuple(CAPITALS.values())
COUNTRY_OF = {city: country for country, city in CAPITALS.items()}
EATEN = tuple(FOODS.values())
EATER_OF = {food: beast for beast, food in FOODS.items()}
LIVED_IN = tuple(HOMES.values())
DWELLER_OF = {home: beast for beast, home in HOMES.items()}
