"""What English writes short and says long: abbreviations, initials, units, currencies, symbols."""

from __future__ import annotations

MONTHS = (
    "January February March April May June July August September October November December"
).split()
SHORT_MONTHS = {m[:3]: m for m in MONTHS if m != "May"} | {"Sept": "September"}

# With their full stop; what comes before and after decides about those in reading.py.
ABBREVIATIONS = {
    "Mr": "Mister",
    "Mrs": "Missus",
    "Ms": "Ms",
    "Messrs": "Messieurs",
    "Prof": "Professor",
    "Gen": "General",
    "Sen": "Senator",
    "Rep": "Representative",
    "Gov": "Governor",
    "Capt": "Captain",
    "Cmdr": "Commander",
    "Lt": "Lieutenant",
    "Col": "Colonel",
    "Sgt": "Sergeant",
    "Cpl": "Corporal",
    "Pvt": "Private",
    "Maj": "Major",
    "Adm": "Admiral",
    "Rev": "Reverend",
    "Hon": "Honorable",
    "Pres": "President",
    "Supt": "Superintendent",
    "Jr": "Junior",
    "Sr": "Senior",
    "Mt": "Mount",
    "Ave": "Avenue",
    "Blvd": "Boulevard",
    "Rd": "Road",
    "Ln": "Lane",
    "Hwy": "Highway",
    "Apt": "Apartment",
    "Bldg": "Building",
    "Inc": "Incorporated",
    "Ltd": "Limited",
    "Co": "Company",
    "Corp": "Corporation",
    "Bros": "Brothers",
    "Dept": "Department",
    "dept": "department",
    "Univ": "University",
    "Assn": "Association",
    "Govt": "Government",
    "govt": "government",
    "etc": "et cetera",
    "vs": "versus",
    "Vs": "Versus",
    "cf": "compare",
    "al": "al",
    "ca": "circa",
    "approx": "approximately",
    "Approx": "Approximately",
    "est": "established",
    "Fig": "Figure",
    "Figs": "Figures",
    "fig": "figure",
    "figs": "figures",
    "Vol": "Volume",
    "vol": "volume",
    "Ch": "Chapter",
    "ch": "chapter",
    "Sec": "Section",
    "Eq": "Equation",
    "eq": "equation",
    "Nos": "Numbers",
    "nos": "numbers",
    "p": "page",
    "pp": "pages",
    "ed": "edition",
    "eds": "editors",
    "misc": "miscellaneous",
    "avg": "average",
    "max": "maximum",
    "min": "minimum",
    "incl": "including",
    "excl": "excluding",
    "tel": "telephone",
    "Tel": "Telephone",
    "ext": "extension",
    "Ext": "Extension",
    "Mon": "Monday",
    "Tue": "Tuesday",
    "Tues": "Tuesday",
    "Wed": "Wednesday",
    "Thu": "Thursday",
    "Thur": "Thursday",
    "Thurs": "Thursday",
    "Fri": "Friday",
    "Sat": "Saturday",
    "Sun": "Sunday",
    "Calif": "California",
    "Conn": "Connecticut",
    "Mass": "Massachusetts",
    "Penn": "Pennsylvania",
    "Wash": "Washington",
    **SHORT_MONTHS,
}
# English words of their own: only a number after them makes these abbreviations.
BEFORE_NUMBERS = frozenset("p pp ed ch Ch Sec Eq eq fig figs Fig Figs vol Vol ca nos Nos".split())
# Never read long at the end of a sentence, where they are plain words.
PLAIN_WORDS = frozenset("Mass Wash Penn Sat Sun Wed Mon Mar est max min ed al p".split())
# A sentence goes on after these, whatever follows.
TITLES = frozenset(
    "Mr Mrs Ms Messrs Dr Prof Gen Sen Rep Gov Capt Cmdr Lt Col Sgt Cpl Pvt Maj Adm Rev Hon Pres "
    "Supt Mt Ft vs Vs cf approx Approx incl excl e.g i.e viz".split()
)
# Said without a full stop too.
BARE = {"Mr": "Mister", "Mrs": "Missus", "Dr": "Doctor", "Prof": "Professor", "vs": "versus"}

LATIN = {
    "e.g": "for example",
    "i.e": "that is",
    "eg": "for example",
    "ie": "that is",
    "a.k.a": "also known as",
    "n.b": "note well",
    "viz": "namely",
}

# A sentence that begins with one of these words is a new one, even after "etc." or "U.S.".
STARTERS = frozenset(
    "A After All Also Although An And Another Any Are As At Because Before Both But By Can Could "
    "Did Do Does During Each Every Few For From Good Had Has Have He Hello Her Here Hi His How "
    "However I If In Is It Its Just Later Let Many Maybe Meanwhile More Most Much My Never Next No "
    "Not Nothing Now Of Oh On Once One Only Or Other Our Perhaps Please She Should Since So Some "
    "Sometimes Soon Still Such Tell Thank Thanks That The Their Then There These They This Those "
    "Though Thus To Today Tomorrow Too Two Under Until Was We Well Were What When Where Whether "
    "Which While Who Why Will With Without Would Yes Yesterday Yet You Your".split()
)

# Capitals that are said letter by letter although they could be said as a word.
INITIALISMS = frozenset(
    "AARP ACLU AFAIK ASMR ASPCA BIPOC ESPN IEEE IMHO ISBN ISO NAACP NCAA OECD RSVP UCLA "
    "UNHCR USAF USDA USMC USSR YMCA IETF IPCC IUCN UTC EST URI AWS UAV IOU IRA UAE "
    "HTML XHTML HDMI IPO ICU ATP IPTV".split()
)
# Up to three capitals that are said as one word.
SHORT_ACRONYMS = frozenset("NET RAM ROM GIF SIM PIN ZIP LAN WAN CAD DOS BIT AIR OPT LOL OK".split())
# Up to three capitals that stress an ordinary word.
SHORT_WORDS = frozenset(
    "AM AN AND ALL ANY ARE AS ASK AT BAD BE BED BIG BOY BUT BUY BY CAN CAR CAT DAD DAY DID DO DOG "
    "EAT END FAR FEW FOR FUN GET GO GOD GOT HAD HAS HE HER HEY HI HIM HIS HIT HOT HOW IF IN IS ITS "
    "JOB JOY KEY LAW LET LIE LOT LOW MAD MAN MAY ME MEN MOM MY NEW NO NOR NOT NOW OF OFF OH OLD ON "
    "ONE OR OUR OUT OWN PAY PUT RED RUN SAD SAW SAY SEA SEE SET SHE SIT SIX SO SON SUN TAX TEN THE "
    "TO TOO TOP TRY TWO UP USE VAN WAR WAS WAY WE WHY WIN WON WOW YES YET YOU".split()
)

# Kings, queens and popes: "Henry VIII" is "Henry the eighth".
REGNAL = frozenset(
    "Alexander Alfonso Alexios Benedict Boniface Carl Catherine Charles Christian Clement Edward "
    "Elizabeth Ferdinand Francis Frederick George Gregory Gustav Harald Haakon Henry Innocent Ivan "
    "James John Joseph Juan Julius Karl Leo Leopold Louis Ludwig Malcolm Margaret Mary Maximilian "
    "Napoleon Nicholas Olaf Otto Paul Pedro Peter Philip Pius Ptolemy Rameses Ramses Richard "
    "Robert Rudolf Sixtus Stephen Thutmose Urban Victor Wilhelm William".split()
)
# Before a Roman numeral that counts: "Chapter IV" is "Chapter four".
NUMBERED = frozenset(
    "act appendix article book chapter class division episode figure game grade group level lesson "
    "mark model module number page part phase schedule scene section stage step table title tier "
    "type unit volume war apollo bowl fantasy rocky wars verse world".split()
)

# Symbol: (one, several, hundredth or "", hundredths).
CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₺": ("lira", "lira", "kurus", "kurus"),
    "₪": ("shekel", "shekels", "agora", "agorot"),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "US$": ("U S dollar", "U S dollars", "cent", "cents"),
    "C$": ("Canadian dollar", "Canadian dollars", "cent", "cents"),
    "A$": ("Australian dollar", "Australian dollars", "cent", "cents"),
}
CURRENCY_CODES = {
    "USD": CURRENCIES["US$"],
    "CAD": CURRENCIES["C$"],
    "AUD": CURRENCIES["A$"],
    "EUR": CURRENCIES["€"],
    "GBP": CURRENCIES["£"],
    "JPY": CURRENCIES["¥"],
    "INR": CURRENCIES["₹"],
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "CNY": ("yuan", "yuan", "", ""),
}
MAGNITUDES = {
    "k": "thousand",
    "K": "thousand",
    "m": "million",
    "M": "million",
    "mn": "million",
    "mm": "million",
    "bn": "billion",
    "b": "billion",
    "B": "billion",
    "tn": "trillion",
    "T": "trillion",
}

# After a number.  Singular; the plural adds an s unless it is given.
UNITS = {
    "km": "kilometer",
    "m": "meter",
    "cm": "centimeter",
    "mm": "millimeter",
    "μm": "micrometer",
    "nm": "nanometer",
    "mi": "mile",
    "yd": "yard",
    "yds": "yard",
    "ft": "foot/feet",
    "kg": "kilogram",
    "g": "gram",
    "mg": "milligram",
    "μg": "microgram",
    "mcg": "microgram",
    "lb": "pound",
    "lbs": "pound",
    "oz": "ounce",
    "fl oz": "fluid ounce",
    "l": "liter",
    "L": "liter",
    "cl": "centiliter",
    "dl": "deciliter",
    "ml": "milliliter",
    "mL": "milliliter",
    "gal": "gallon",
    "tsp": "teaspoon",
    "tbsp": "tablespoon",
    "ha": "hectare",
    "s": "second",
    "sec": "second",
    "secs": "second",
    "ms": "millisecond",
    "μs": "microsecond",
    "ns": "nanosecond",
    "min": "minute",
    "mins": "minute",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "yr": "year",
    "yrs": "year",
    "Hz": "hertz/hertz",
    "kHz": "kilohertz/kilohertz",
    "MHz": "megahertz/megahertz",
    "GHz": "gigahertz/gigahertz",
    "W": "watt",
    "kW": "kilowatt",
    "MW": "megawatt",
    "GW": "gigawatt",
    "Wh": "watt hour",
    "kWh": "kilowatt hour",
    "MWh": "megawatt hour",
    "V": "volt",
    "kV": "kilovolt",
    "mV": "millivolt",
    "mA": "milliamp",
    "mAh": "milliamp hour",
    "Ω": "ohm",
    "kB": "kilobyte",
    "KB": "kilobyte",
    "MB": "megabyte",
    "GB": "gigabyte",
    "TB": "terabyte",
    "PB": "petabyte",
    "KiB": "kibibyte",
    "MiB": "mebibyte",
    "GiB": "gibibyte",
    "kbps": "kilobit per second/kilobits per second",
    "Mbps": "megabit per second/megabits per second",
    "Gbps": "gigabit per second/gigabits per second",
    "MB/s": "megabyte per second/megabytes per second",
    "mph": "mile per hour/miles per hour",
    "km/h": "kilometer per hour/kilometers per hour",
    "kph": "kilometer per hour/kilometers per hour",
    "kmh": "kilometer per hour/kilometers per hour",
    "m/s": "meter per second/meters per second",
    "mpg": "mile per gallon/miles per gallon",
    "rpm": "revolution per minute/revolutions per minute",
    "bpm": "beat per minute/beats per minute",
    "fps": "frame per second/frames per second",
    "dpi": "dot per inch/dots per inch",
    "ppm": "part per million/parts per million",
    "psi": "pound per square inch/pounds per square inch",
    "kcal": "kilocalorie",
    "cal": "calorie",
    "kJ": "kilojoule",
    "Pa": "pascal",
    "hPa": "hectopascal",
    "kPa": "kilopascal",
    "dB": "decibel",
    "px": "pixel",
    "pt": "point",
    "pts": "point",
}
# These may drop their full stop when the sentence goes on: "5 lbs. of sugar".
DOTTED_UNITS = frozenset(
    "ft lb lbs oz yd yds mi hr hrs min mins sec secs yr yrs gal tsp tbsp".split()
)
# What a slash after a number's unit divides by: "$5/mo".
PER = {"mo": "month", "yr": "year", "hr": "hour", "h": "hour", "wk": "week", "min": "minute"} | {
    "s": "second",
    "sec": "second",
    "d": "day",
    "kg": "kilogram",
    "lb": "pound",
    "L": "liter",
    "l": "liter",
    "km": "kilometer",
    "m": "meter",
}

# Said wherever they still stand after numbers, money and units have been read.
SYMBOLS = {
    "&": "and",
    "+": "plus",
    "=": "equals",
    "≠": "is not equal to",
    "<": "less than",
    ">": "greater than",
    "≤": "less than or equal to",
    "≥": "greater than or equal to",
    "≈": "approximately",
    "±": "plus or minus",
    "×": "times",
    "÷": "divided by",
    "√": "square root of",
    "∞": "infinity",
    "→": "to",
    "%": "percent",
    "‰": "per thousand",
    "°": "degrees",
    "©": "copyright",
    "§": "section",
    "¶": "paragraph",
    "@": "at",
    "^": "caret",
    "~": "tilde",
    "\\": "backslash",
    "$": "dollars",
    "€": "euros",
    "£": "pounds",
    "¥": "yen",
    "¢": "cents",
    "₹": "rupees",
    "Ω": "omega",
}
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξοπρστυφχψω",
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho "
        "sigma tau upsilon phi chi psi omega".split(),
        strict=True,
    )
)

# Last parts of internet names, which tell "example.com" from a missing space.
DOMAINS = frozenset(
    "com org net edu gov mil int io ai app dev info biz co uk de fr eu us ca au jp cn ru ch nl se "
    "no es it br in tv me xyz online shop tech gg ly to".split()
)
