"""The words that the generator `scenes` understands: English phrases -> properties of a scene. Ours; everything else is ignored.

`CHOICES` is about what a scene is one of, `SUBJECTS` about what it holds several of, `SHIFTS` about what it has more or less of. Where a prompt
speaks twice of the same property, the first mention counts, so that a prompt's beginning cannot be contradicted by what is added to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache

# property -> value -> phrases; the first three or so phrases of a value are what the writer `phrases` takes.
CHOICES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "time": {
        "dawn": ("at dawn", "early morning light", "sunrise", "dawn", "daybreak", "first light", "early morning", "morning light"),
        "noon": ("at noon", "bright midday sun", "broad daylight", "noon", "midday", "daylight", "daytime", "afternoon"),
        "sunset": ("at sunset", "golden hour", "evening light", "sunset", "dusk", "twilight", "golden light", "evening", "blue hour"),
        "night": ("at night", "moonlit night", "starry night", "night", "midnight", "moonlit", "moonlight", "nighttime", "starry", "nocturnal"),
    },
    "weather": {
        "clear": ("clear sky", "cloudless sky", "crisp clear air", "sunny", "cloudless", "clear weather", "clear"),
        "clouds": ("scattered clouds", "dramatic clouds", "cloudy sky", "cloudy", "clouds", "overcast"),
        "fog": ("thick fog", "morning mist", "hazy atmosphere", "fog", "foggy", "mist", "misty", "haze", "hazy"),
        "storm": ("gathering storm", "heavy rain", "stormy weather", "storm", "stormy", "thunderstorm", "rain", "rainy", "lightning", "thunder"),
    },
    "ground": {
        "sea": ("by the sea", "calm ocean", "wide bay", "sea", "ocean", "seaside", "coast", "coastal", "shore", "beach", "bay", "harbour", "harbor", "lake", "water"),
        "mountains": ("in the mountains", "snowy peaks", "alpine valley", "mountains", "mountain", "peaks", "alps", "alpine", "hills", "valley"),
        "desert": ("in the desert", "rolling sand dunes", "dry wasteland", "desert", "dunes", "sahara", "sand", "wasteland"),
        "forest": ("in a forest", "deep green woods", "woodland clearing", "forest", "woods", "woodland", "jungle", "meadow", "park", "garden"),
        "city": ("in the city", "urban skyline", "tall buildings", "city", "town", "urban", "skyline", "street", "downtown", "skyscrapers"),
    },
    "season": {
        "spring": ("in spring", "fresh blossoms", "spring", "springtime", "blossoms", "blossoming"),
        "summer": ("in summer", "lush summer green", "summer", "lush"),
        "autumn": ("in autumn", "fallen leaves", "autumn colours", "autumn", "autumnal", "fall foliage"),
        "winter": ("in winter", "fresh snow", "frosty winter day", "winter", "snow", "snowy", "frost", "frosty", "wintry"),
    },
    "palette": {
        "natural": ("natural colours", "true colours", "natural colors", "true colors"),
        "warm": ("warm colours", "warm tones", "amber tint", "warm", "warm colors", "amber", "orange tones"),
        "cold": ("cold colours", "cool blue tones", "icy palette", "cold", "cool", "cold colors", "cool tones", "icy", "blue tones"),
        "pastel": ("pastel colours", "soft pastel palette", "faded colours", "pastel", "pastels", "faded", "muted colours", "muted"),
        "vivid": ("vivid colours", "rich saturated colours", "vibrant palette", "vivid", "vibrant", "saturated", "colourful", "colorful"),
        "monochrome": ("black and white", "monochrome", "shades of grey", "grayscale", "greyscale", "black-and-white", "shades of gray"),
    },
    "composition": {
        "wide": ("wide panoramic view", "wide angle", "vast open space", "panoramic", "panorama", "wide view", "wide shot", "vast", "distant"),
        "close": ("close view", "detailed foreground", "close up", "close-up", "closeup", "close", "foreground"),
        "symmetric": ("symmetric composition", "centred subject", "perfect symmetry", "symmetric", "symmetrical", "symmetry", "centred", "centered"),
        "thirds": ("rule of thirds", "off-centre subject", "balanced asymmetry", "off-centre", "off-center", "asymmetric"),
    },
    "style": {
        "photo": ("documentary photograph", "35mm film grain", "realistic photo", "photograph", "photo", "photographic", "film grain", "realistic", "photorealistic"),
        "poster": ("flat poster design", "minimalist vector art", "travel poster", "poster", "flat design", "vector art", "minimalist", "flat"),
        "painting": ("oil painting", "painterly brush strokes", "impressionist style", "painting", "painterly", "impressionist", "watercolour", "watercolor", "brush strokes"),
    },
}  # fmt: skip

# what there may be several of -> phrases of the writer, then nouns that are understood in the singular and with "s"
SUBJECTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "trees": (("a lone tree", "three trees", "many trees"), ("tree", "pine", "palm", "oak", "cypress", "cactus", "cacti")),
    "boats": (("a small boat", "two sailing boats", "several boats"), ("boat", "sailboat", "ship", "sail", "yacht")),
    "houses": (("a little house", "two cottages", "several houses"), ("house", "cottage", "cabin", "hut", "barn", "village", "home")),
    "towers": (("a lighthouse", "an old tower"), ("lighthouse", "tower", "windmill")),
    "people": (("a lone figure", "two people walking", "a crowd of people"), ("person", "people", "figure", "man", "woman", "child", "traveller", "couple", "crowd", "hiker", "silhouette")),
    "birds": (("a single bird", "a few birds", "a flock of birds"), ("bird", "gull", "seagull", "swallow", "crow", "geese")),
    "sun": (("sun in the frame", "no sun in sight"), ("sun", "moon", "full moon", "sunbeam")),
}  # fmt: skip

# more or less of something -> (phrases for more, phrases for less)
SHIFTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "brightness": (
        ("bright and airy", "high key", "luminous", "bright", "airy", "radiant", "glowing"),
        ("dark and moody", "low key", "dim light", "dark", "moody", "gloomy", "dim", "shadowy"),
    ),
    "contrast": (
        ("high contrast", "dramatic light", "deep shadows", "dramatic", "bold", "striking"),
        ("low contrast", "soft light", "gentle tones", "soft", "gentle", "subtle", "dreamy", "delicate"),
    ),
    "horizon": (
        ("big sky", "low horizon", "endless sky"),
        ("high horizon", "seen from above", "little sky", "aerial view", "bird's eye view"),
    ),
}

NUMBERS: Mapping[str, int] = {
    "no": 0, "without": 0, "zero": 0, "a": 1, "an": 1, "one": 1, "single": 1, "lone": 1, "lonely": 1, "solitary": 1, "two": 2, "couple": 2, "pair": 2,
    "three": 3, "few": 3, "four": 4, "some": 3, "five": 5, "several": 5, "six": 6, "seven": 7, "flock": 7, "crowd": 8, "many": 8, "rows": 8, "countless": 9,
}  # fmt: skip
MANY = {"couple": 2, "crowd": 8, "village": 5, "geese": 5, "cacti": 3}  # nouns that say how many there are
MOST = 9  # of one subject


@cache
def _meanings() -> dict[str, tuple[str, str]]:
    """phrase -> (property, value)."""
    found = {phrase: (name, value) for name, values in CHOICES.items() for value, phrases in values.items() for phrase in phrases}
    for name, (_, nouns) in SUBJECTS.items():
        found |= {form: (name, noun) for noun in nouns for form in (noun, f"{noun}s")}
    for name, sides in SHIFTS.items():
        found |= {phrase: (name, sign) for sign, phrases in zip("+-", sides, strict=True) for phrase in phrases}
    return found


@cache
def _pattern() -> re.Pattern[str]:
    """Matches the longest phrase at each place, whole words only."""
    longest_first = sorted(_meanings(), key=len, reverse=True)
    return re.compile(r"(?<![\w-])(?:" + "|".join(re.escape(phrase) for phrase in longest_first) + r")(?![\w-])")


def mentions(prompt: str) -> Iterator[tuple[str, str | int]]:
    """What a prompt says, in order: (property, value); for subjects how many, for shifts "+" or "-".

    How many is the number word with at most two others before the noun ("three old boats"); else 4 for a plural and 1 for a singular.
    """
    text = " ".join(prompt.lower().split())
    for found in _pattern().finditer(text):
        name, value = _meanings()[found.group()]
        yield name, _how_many(text[: found.start()], found.group(), value) if name in SUBJECTS else value


def _how_many(before: str, word: str, noun: str) -> int:
    """0 to MOST."""
    near = re.split(r"[,.;:]", before)[-1].split()[-3:]
    numbers = [NUMBERS[place] for place in near if place in NUMBERS]
    if numbers and (0 in numbers or numbers[-1] != 1 or noun not in MANY):
        return 0 if 0 in numbers else numbers[-1]
    return MANY.get(noun, 4 if word != noun or noun == "people" else 1)
