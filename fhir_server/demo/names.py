"""Names of people from several cultures, streets and towns, all made up of common parts."""

from __future__ import annotations

from random import Random

# culture: families, women's names, men's names, language
CULTURES: dict[str, tuple[str, str, str, str]] = {
    "irish": (
        "Ó Briain,Nic Gabhann,Ó Súilleabháin,Murphy,Byrne,Walsh,Doyle,Gallagher,Brennan,Keogh",
        "Aoife,Niamh,Siobhán,Gráinne,Róisín,Maeve,Bríd,Orla,Sinéad,Ciara",
        "Seán,Pádraig,Cillian,Oisín,Eoin,Fionn,Diarmuid,Rónán,Liam,Tadhg",
        "en-IE",
    ),
    "english": (
        "Harper,Whitfield,Ashdown,Pemberton,Clarke,Holloway,Turner,Bradshaw",
        "Charlotte,Eleanor,Grace,Hannah,Imogen,Lucy,Olivia,Rose",
        "Arthur,Edward,George,Henry,Oliver,Thomas,William,James",
        "en",
    ),
    "german": (
        "Müller,Schäfer,Böhm,Größer,Krüger,Weiß,Lindner,Vogel",
        "Jürgine,Käthe,Ursula,Anneliese,Hannelore,Greta,Lotte,Sabine",
        "Jürgen,Björn,Götz,Matthias,Stefan,Uwe,Günther,Klaus",
        "de",
    ),
    "polish": (
        "Wójcik,Kowalczyk,Zieliński,Dąbrowski,Łukaszewicz,Nowak,Wiśniewski",
        "Małgorzata,Agnieszka,Łucja,Zofia,Katarzyna,Bożena,Jadwiga",
        "Paweł,Michał,Łukasz,Grzegorz,Tomasz,Wojciech,Stanisław",
        "pl",
    ),
    "spanish": (
        "García Núñez,Peña Ibáñez,Muñoz,Fernández Gil,Rodríguez,Ordóñez",
        "Begoña,Concepción,Lucía,María José,Inés,Rocío",
        "Íñigo,José,Ángel,Joaquín,Andrés,Ramón",
        "es",
    ),
    "french": (
        "Lefèvre,Besançon,Hébert,Château,Garçon,Moreau",
        "Élodie,Zoé,Hélène,Geneviève,Anaïs,Margaux",
        "François,Benoît,Loïc,Théo,Gérard,Rémi",
        "fr",
    ),
    "turkish": (
        "Yılmaz,Çelik,Özdemir,Şahin,Güneş,Aydın",
        "Ayşe,Gülşen,Elif,Zeynep,Şule,İpek",
        "Oğuz,Çağlar,İbrahim,Mehmet,Ömer,Uğur",
        "tr",
    ),
    "vietnamese": (
        "Nguyễn,Trần,Phạm,Đặng,Huỳnh",
        "Thị Hương,Ngọc Ánh,Thu Hằng,Mỹ Linh",
        "Văn Dũng,Minh Đức,Quốc Bảo,Hữu Phước",
        "vi",
    ),
    "ukrainian": (
        "Шевчук,Коваленко,Мельник,Бондар,Ткаченко",
        "Оксана,Марія,Леся,Ірина,Соломія",
        "Тарас,Богдан,Юрій,Остап,Андрій",
        "uk",
    ),
    "arabic": (
        "الحداد,منصور,النجار,الخطيب",
        "ليلى,مريم,فاطمة,نور",
        "يوسف,خالد,عمر,كريم",
        "ar",
    ),
    "chinese": (
        "王,李,陈,林,黄",
        "秀英,美玲,静怡,晓梅",
        "伟,志强,建国,俊杰",
        "zh",
    ),
    "yoruba": (
        "Adébáyọ̀,Ọlátúnjí,Akíntọ́lá,Fálànà",
        "Ìbùkún,Fọlákẹ́,Títílayọ̀,Ṣadé",
        "Olúṣẹ́gun,Káyọ̀dé,Táyọ̀,Bámidélé",
        "yo",
    ),
}
WEIGHTS = {"irish": 9, "english": 4, "polish": 3}
LANGUAGES = {
    "en-IE": "English (Ireland)",
    "en": "English",
    "de": "German",
    "pl": "Polish",
    "es": "Spanish",
    "fr": "French",
    "tr": "Turkish",
    "vi": "Vietnamese",
    "uk": "Ukrainian",
    "ar": "Arabic",
    "zh": "Chinese",
    "yo": "Yoruba",
}
STREETS = "Linden Row,Harbour Lane,Castle Terrace,Sráid na Mara,Mill Road,Rosemount Avenue,Quay Street,Orchard Close"
TOWNS = "Dublin,Swords,Tallaght,Dún Laoghaire,Lucan,Malahide,Blanchardstown,Greystones"


def pick_culture(chance: Random) -> str:
    names = list(CULTURES)
    return chance.choices(names, [WEIGHTS.get(n, 1) for n in names])[0]


def pick_name(chance: Random, culture: str, gender: str) -> tuple[str, list[str]]:
    """A family name and one or two given names; people of neither gender take any."""
    families, women, men, _ = CULTURES[culture]
    pool = {"female": women, "male": men}.get(gender, f"{women},{men}").split(",")
    given = chance.sample(pool, 2 if chance.random() < 0.2 else 1)
    return chance.choice(families.split(",")), given


def pick_address(chance: Random, number: int) -> dict[str, object]:
    """An address that does not exist."""
    town = chance.choice(TOWNS.split(","))
    return {
        "use": "home",
        "line": [f"{chance.randint(1, 140)} {chance.choice(STREETS.split(','))}"],
        "city": town,
        "postalCode": f"X{number % 90 + 10} A{number:03d}",
        "country": "IE",
    }


def phone(number: int) -> dict[str, str]:
    """A number of the Irish range that is kept for fiction."""
    return {"system": "phone", "value": f"+353 20 91{number:05d}", "use": "mobile"}
