"""The words the invented company is made of: people's names, departments, groups, applications, repositories.

Everything here is made up or generic. A name in a script other than Latin is written `native=latin`; the Latin half
becomes the e-mail address.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

COMPANY = "Larkfield Instruments"
DOMAIN = "larkfield.example"  # RFC 2606 reserves .example, so no message can ever reach anyone


class Culture(NamedTuple):
    """Given and family names that go together; `family_first` where the family name leads."""

    given: tuple[str, ...]
    family: tuple[str, ...]
    family_first: bool = False


def _culture(given: str, family: str, *, family_first: bool = False) -> Culture:
    return Culture(tuple(given.split(", ")), tuple(family.split(", ")), family_first)


CULTURES = (
    _culture(
        "Amelia, Benjamin, Charlotte, Daniel, Eleanor, Frank, Grace, Harry, Isla, Joseph, Mary-Ann, Oliver, Ruth, Tom",
        "Ashdown, Barlow, Cartwright, D'Arcy, Eastwood, Fenwick, Hargreaves, Lockwood, O'Neill, Pemberton, Whitaker",
    ),
    _culture(
        "Åsa, Björn, Elin, Freja, Gösta, Håkan, Ingrid, Jørgen, Kåre, Linnéa, Märta, Søren, Tuva, Øyvind",
        "Åkesson, Bjørnstad, Dahlström, Ekström, Grønvold, Høgh, Lindqvist, Mårtensson, Nygård, Sjöberg, Østergaard",
    ),
    _culture(
        "Andreas, Birgit, Götz, Heike, Jörg, Jürgen, Käthe, Lukas, Mareike, Rüdiger, Sabine, Ulrike, Vincent, Zoë",
        "Böhm, Fuß, Großmann, Hübner, Jäger, Köhler, Müllner, Schäfer, Strauß, van den Berg, von Ahlen, Weiß",
    ),
    _culture(
        "Agnès, Benoît, Chloé, Étienne, François, Gaëlle, Hélène, Jean-Luc, Loïc, Maëlys, Noémie, Raphaël, Solène",
        "Beauchêne, Château, d'Aubigny, Delacroix, Fournier, Lefèvre, Moreau, Pâquet, Rouvière, Sévigné, Thévenin",
    ),
    _culture(
        "Álvaro, Beatriz, Concepción, Íñigo, João, José, Lucía, Martín, Núria, Óscar, Rocío, Sofía, Tomás, Ximena",
        "Castaño, de la Cruz, Fernández, Gonçalves, Ibáñez, López García, Magalhães, Núñez, Peña, Quiñones, Simões",
    ),
    _culture(
        "Agnieszka, Božena, Czesław, Jiří, Kateřina, Łukasz, Małgorzata, Ondřej, Paweł, Růžena, Šárka, Vojtěch, Žaneta",
        "Błaszczyk, Černý, Dąbrowska, Dvořák, Grześkowiak, Jabłoński, Kučera, Říha, Švec, Wójcik, Zieliński",
    ),
    _culture(
        "Ágnes, Balázs, Csaba, Eszter, Gergő, György, Ilona, Lőrinc, Réka, Sándor, Tünde, Zsófia",
        "Bárány, Fekete, Győri, Halász, Kővári, Lukács, Mészáros, Szűcs, Tóth, Vörös",
        family_first=True,
    ),
    _culture(
        "Олена=Olena, Андрій=Andrii, Богдан=Bohdan, Дарина=Daryna, Ірина=Iryna, Максим=Maksym, Юлія=Yuliia",
        "Бондаренко=Bondarenko, Гнатюк=Hnatiuk, Ковальчук=Kovalchuk, Лисенко=Lysenko, Мельник=Melnyk",
    ),
    _culture(
        "Αλέξανδρος=Alexandros, Δήμητρα=Dimitra, Ελένη=Eleni, Γιώργος=Giorgos, Κατερίνα=Katerina, Νίκος=Nikos",
        "Αγγελόπουλος=Angelopoulos, Δημητρίου=Dimitriou, Καραμήτσος=Karamitsos, Νικολάου=Nikolaou, Σταύρου=Stavrou",
    ),
    _culture(
        "Ayşe, Çağla, Doğan, Emre, Gökçe, Işıl, İbrahim, Nurgül, Oğuz, Şebnem, Tuğba, Ümit, Yiğit",
        "Aydın, Çelikkaya, Doğaner, Güneş, İnceoğlu, Karadağ, Özdemir, Şimşek, Türkmen, Yıldızhan",
    ),
    _culture(
        "أمل=Amal, بسمة=Basma, حسن=Hassan, خالد=Khaled, سلمى=Salma, طارق=Tarek, عمر=Omar, ليلى=Layla, يوسف=Youssef",
        "البستاني=Albustani, الحداد=Alhaddad, الخطيب=Alkhatib, الصباغ=Alsabbagh, النجار=Alnajjar, منصور=Mansour",
    ),
    _culture(
        "אביגיל=Avigail, איתן=Eitan, דניאל=Daniel, יעל=Yael, נועה=Noa, עומר=Omer, שירה=Shira, תמר=Tamar",
        "אברהמי=Avrahami, גולן=Golan, כרמי=Karmi, לביא=Lavi, שלו=Shalev, פלד=Peled",
    ),
    _culture(
        "आरव=Aarav, दीपिका=Deepika, ईशान=Ishaan, कविता=Kavita, मीरा=Meera, नीलम=Neelam, रोहन=Rohan, सुनीता=Sunita",
        "अग्रवाल=Agrawal, चौहान=Chauhan, देशपांडे=Deshpande, जोशी=Joshi, कुलकर्णी=Kulkarni, शर्मा=Sharma, वर्मा=Varma",
    ),
    _culture(
        "Abhinav, Ananya, Farhan, Gayatri, Harpreet, Karthik, Lakshmi, Nandini, Pradeep, Rukmini, Siddharth, Tanvi",
        "Balakrishnan, Chatterjee, Dhillon, Iyer, Krishnamurthy, Mukherjee, Nair, Pillai, Ranganathan, Subramanian",
    ),
    _culture(
        "芳=Fang, 伟=Wei, 静=Jing, 建国=Jianguo, 丽娟=Lijuan, 明轩=Mingxuan, 思远=Siyuan, 晓梅=Xiaomei, 雨桐=Yutong",
        "陈=Chen, 高=Gao, 胡=Hu, 李=Li, 刘=Liu, 欧阳=Ouyang, 孙=Sun, 王=Wang, 徐=Xu, 张=Zhang, 赵=Zhao",
        family_first=True,
    ),
    _culture(
        "葵=Aoi, 大輔=Daisuke, 花子=Hanako, 健太=Kenta, 美咲=Misaki, 直樹=Naoki, さくら=Sakura, 翔太=Shota, 由美=Yumi",
        "藤原=Fujiwara, 林=Hayashi, 加藤=Kato, 小林=Kobayashi, 中村=Nakamura, 大野=Ono, 斎藤=Saito, 渡辺=Watanabe",
        family_first=True,
    ),
    _culture(
        "도윤=Doyun, 하은=Haeun, 지훈=Jihun, 민서=Minseo, 서연=Seoyeon, 수빈=Subin, 유진=Yujin, 은우=Eunwoo",
        "강=Kang, 김=Kim, 남궁=Namgung, 박=Park, 송=Song, 윤=Yoon, 정=Jung, 최=Choi",
        family_first=True,
    ),
    _culture(
        "Ánh, Bảo, Đức, Giang, Hằng, Hữu, Khánh, Mỹ, Ngọc, Phượng, Quỳnh, Thủy, Tuấn, Yến",
        "Bùi, Đặng, Đỗ, Hoàng, Huỳnh, Lê, Nguyễn, Phạm, Trần, Võ",
        family_first=True,
    ),
    _culture(
        "กนกวรรณ=Kanokwan, จิราพร=Jiraporn, ณัฐพล=Nattapol, ปิยะ=Piya, สมชาย=Somchai, อรุณี=Arunee",
        "จันทร์ดี=Chandee, ทองสุข=Thongsuk, ศรีสวัสดิ์=Srisawat, สุขใจ=Sukjai, แสงทอง=Saengthong",
    ),
    _culture(
        "Abebe, Adaeze, Ayodélé, Chidi, Fatou, Kwabena, Makena, Naledi, Olúwaṣeun, Sipho, Temitọ́pẹ́, Wanjiru, Zainab",
        "Abubakar, Adéyẹmí, Boateng, Dlamini, Diallo, Gebremariam, Kamau, Mensah, N'Diaye, Okonkwo, Ọlátúnjí, Tadesse",
    ),
    _culture(
        "Ahmad, Bayu, Dewi, Farah, Kartika, Lestari, Maria Clara, Nurul, Putri, Ramon, Siti, Wahyu",
        "Abdullah, bin Osman, dela Peña, Hartono, Kusuma, Macaraeg, Pangilinan, Salazar, Siregar, Wijaya",
    ),
    _culture(
        "Aroha, Hēmi, Kahurangi, Kalani, Leilani, Mānaia, Ngaire, Sione, Talia, Wiremu",
        "Fa'asavalu, Kahale, Māhina, Ngata, Parata, Tūhoe, Tāmihana, Vaipulu",
    ),
)

_UNDECOMPOSED = str.maketrans({
    "ß": "ss", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "æ": "ae", "Æ": "AE", "ə": "e",
})  # fmt: skip


def native(name: str) -> str:
    """The name as its bearer writes it."""
    return name.partition("=")[0]


def address_part(name: str) -> str:
    """The name as it stands in an e-mail address: lower-case ASCII letters, joined by hyphens."""
    latin = name.rpartition("=")[2].translate(_UNDECOMPOSED)
    ascii_only = unicodedata.normalize("NFKD", latin).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z]+", "-", ascii_only.replace("'", "")).strip("-")


# Department → (weight, head's title, others' titles).
DEPARTMENTS: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "Engineering": (22, "VP Engineering", ("Software engineer", "Senior software engineer", "Staff engineer")),
    "Firmware": (10, "Director of Firmware", ("Firmware engineer", "Embedded engineer", "Test engineer")),
    "Platform": (7, "Director of Platform", ("Site reliability engineer", "Platform engineer")),
    "Security": (3, "Chief information security officer", ("Security engineer", "Security analyst")),
    "IT": (4, "Director of IT", ("IT administrator", "Support technician", "Endpoint engineer")),
    "Manufacturing": (18, "VP Manufacturing", ("Assembly technician", "Calibration technician", "Line supervisor")),
    "Quality": (7, "Director of Quality", ("Quality inspector", "Metrology specialist")),
    "Sales": (11, "VP Sales", ("Account executive", "Sales engineer", "Sales representative")),
    "Customer Care": (8, "Director of Customer Care", ("Support engineer", "Field engineer")),
    "Finance": (4, "Chief financial officer", ("Accountant", "Financial analyst", "Payroll specialist")),
    "People": (3, "Chief people officer", ("Recruiter", "People partner")),
    "Legal": (3, "General counsel", ("Counsel", "Compliance specialist", "Contracts specialist")),
}
TECHNICAL = ("Engineering", "Firmware", "Platform", "Security", "IT")

PROJECTS = (
    "Aurora", "Basalt", "Cinder", "Dovetail", "Ember", "Fathom", "Gimbal", "Halyard", "Isobar", "Juniper", "Kestrel",
    "Lodestar", "Meridian", "Nimbus", "Osprey", "Plumbline", "Quartz", "Rookery", "Sextant", "Theodolite", "Umbra",
    "Vernier", "Waypoint", "Yardarm", "Zenith", "Spirit Level",
)  # fmt: skip
ON_CALL = ("Cloud", "Data", "Devices", "Factory", "Firmware", "Identity", "Network", "Payments", "Security", "Web")
ADMIN_GROUPS = (
    "Directory admins", "Code host owners", "Production access", "Billing admins", "Device admins", "Break-glass",
)  # fmt: skip
SITES = ("Aberlyn", "Porto Velmar", "Saint-Orens", "Kitahama", "Thornbury Falls")

APPLICATIONS = (
    "Payroll", "Expenses", "Travel booking", "Wiki", "Chat", "Mail", "Calendar", "File share", "Video calls", "CRM",
    "Help desk", "Status page", "Code host", "Build farm", "Artifact store", "Error tracker", "Log search", "Metrics",
    "Cloud console", "Secrets vault", "Data warehouse", "Dashboards", "Notebooks", "Feature flags", "Design board",
    "Issue tracker", "Roadmap", "Contract signing", "Procurement", "Warehouse", "Calibration records", "Learning",
    "Recruiting", "Appraisals", "Visitor desk", "Badge system", "VPN", "Device management", "Backup", "Legacy intranet",
)  # fmt: skip

REPOSITORY_SUBJECTS = (
    "sensor", "calibration", "telemetry", "orders", "catalogue", "warehouse", "identity", "gateway", "scheduler",
    "alerts", "reports", "portal", "billing", "pricing", "labels", "metrology", "probe", "bench", "fleet", "updates",
)  # fmt: skip
REPOSITORY_FORMS = (
    "api",
    "service",
    "worker",
    "ui",
    "firmware",
    "tools",
    "schema",
    "infra",
    "docs",
    "sdk",
    "simulator",
    "tests",
)
PUBLIC_REPOSITORIES = ("instrument-protocol", "larkfield-python")
ACCIDENTALLY_PUBLIC = "billing-service"
LANGUAGES = ("Python", "TypeScript", "Go", "C", "C++", "Rust", "Kotlin", "Terraform")

PACKAGES = (
    ("pypi", "quickparse"), ("pypi", "tinyhttpd"), ("pypi", "yamlette"), ("pypi", "pixelpress"), ("npm", "leftleaf"),
    ("npm", "deep-stitch"), ("npm", "routelet"), ("npm", "datewise-lite"), ("npm", "svg-sprout"), ("go", "gomuxer"),
    ("go", "ziplane"), ("cargo", "bytebarn"), ("cargo", "serde-lark"), ("maven", "logbrook"), ("maven", "xmlharbour"),
)  # fmt: skip
WEAKNESSES = (
    "Regular expression denial of service", "Path traversal in archive extraction", "Improper certificate validation",
    "Prototype pollution", "Out-of-bounds read", "Server-side request forgery", "Cross-site scripting",
    "Deserialisation of untrusted data", "Integer overflow in length check", "Cache poisoning",
)  # fmt: skip

# (kind, severity, title, what it is about)
ALERTS = (
    ("impossible_travel", "high", "Sign-ins from two continents within an hour", "person"),
    ("new_country", "low", "First sign-in from a new country", "person"),
    ("mfa_fatigue", "critical", "Many push prompts refused in a row", "person"),
    ("password_spray", "medium", "Many failed sign-ins with common passwords", "person"),
    ("mass_download", "high", "Unusually many files downloaded", "person"),
    ("admin_granted", "medium", "An administrator role was granted outside working hours", "person"),
    ("malware_blocked", "medium", "Malware was blocked on a laptop", "device"),
    ("encryption_disabled", "high", "Disk encryption was turned off", "device"),
    ("jailbreak_tool", "medium", "A tool that bypasses device management was found", "device"),
    ("secret_committed", "critical", "A secret was committed", "repository"),
    ("force_push", "low", "History of a default branch was rewritten", "repository"),
)
SERVICE_TASKS = ("backup", "deploy", "reporting", "sync", "monitoring", "invoicing", "labelling", "calibration")
