"""From numbers to sentences: how a measured value is called beside those of other photographs. Says only what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from beholder.critique.base import Evidence
from beholder.critique.measured.probes import DISPUTED, LIKED, SURE, Seen
from beholder.critique.measured.statistics import ATTRIBUTES, Where, percentile

CLIPPED = 0.03  # share of pixels lost in black or white from which it is said
TILT = 0.7  # degrees from which a horizon is called tilted
SURE_LINE = 0.88  # strength of a horizon from which a tilt is to be mended; of four tilted lines below it, in everyday photographs, three were no horizon
SOFT, NOISY = 95.0, 97.0  # percentiles of blur and noise from which the focus section says so
UNSHARP = 10.0  # percentile of sharpness up to which a blurred image is called soft: large even areas alone count as blur, too
NEUTRAL = 2.0  # b* to either side of grey within which nothing is called warm or cool
COLOURLESS = 7.5  # colourfulness: "not colourful" in Hasler and Suesstrunk's study
MOST = 99  # "more than 99 % of photographs" is as much as 657 of them can say
_DEGREES = ((3, "very {}"), (15, "{}"), (30, "rather {}"))  # percentile from the nearer end, and how it is called
# How little and much of an attribute are called of an image ("it is ..."); those that take no "rather" and "very" are said only when they are clear
WORDS = {
    "brightness": ("dark", "bright"),
    "contrast": ("low in contrast", "high in contrast"),
    "tonal range": ("=without full blacks and whites", "=with tones from black to white"),
    "colourfulness": ("weak in colour", "colourful"),
    "saturation": ("muted", "saturated"),
    "warmth": ("cool", "warm"),
    "hue focus": ("=of hues far apart", "=mostly of one hue"),
    "subject isolation": ("=no crisper in what stands out than elsewhere", "=crisper in what stands out than elsewhere"),
    "balance": ("=heavier on one side", "evenly weighted left and right"),
    "symmetry": ("=asymmetric in light and dark", "=symmetric in light and dark"),
    "simplicity": ("busy", "simple"),
}
_PLACES = ("left", "middle", "right"), ("upper", "middle", "lower")


@dataclass(frozen=True)
class Findings:
    """Everything known of one image.

    Args:
        values: attribute -> value, as `statistics.measure` gives it.
        where: places in it.
        seen: what the probes say; None without the encoder.
    """

    values: Mapping[str, float]
    where: Where
    seen: Seen | None

    def percentile(self, name: str) -> float:
        return percentile(name, self.values[name])


def evidence(found: Findings, section: str) -> tuple[Evidence, ...]:
    """What was measured for a section, whether or not its text speaks of it."""
    made = []
    for name, one in ATTRIBUTES.items():
        if one.section == section:
            value = found.values[name]
            rare = name.startswith("horizon")  # found in so few of the reference photographs that percentiles say nothing
            made.append(Evidence(name, value, one.unit, None if rare or math.isnan(value) else found.percentile(name), one.how))
    return tuple(made)


def probe_evidence(seen: Seen) -> tuple[Evidence, ...]:
    how = "Ridge regression on the image encoder's features, learned from the mean ratings of other photographs; more is liked more."
    differ = "The same for the standard deviation of people's ratings; more is more disputed."
    return (
        Evidence(LIKED, seen.liked, "share of the scale", seen.liked_percentile, how),
        Evidence(DISPUTED, seen.disputed, "share of the scale", seen.disputed_percentile, differ),
    )


def called(found: Findings, name: str) -> str:
    """ "rather dark", "very ..." for a value apart from the average; "" for one that is about average or unknown."""
    value = found.values[name]
    if math.isnan(value):
        return ""
    if name == "warmth" and (abs(value) < NEUTRAL or is_colourless(found)):  # greys are cooler than most photographs, and yet not cool
        return ""
    if name == "balance" and value < 0.5 and 1 / 3 <= found.where.x < 2 / 3:  # what stands out in the middle may lie a little beside it
        return ""
    at, (low, high) = found.percentile(name), WORDS[name]
    word, distance = (low, at) if at < 50 else (high, 100 - at)
    if word.startswith("="):
        return word[1:] if distance <= _DEGREES[1][0] else ""
    return next((form.format(word) for limit, form in _DEGREES if distance <= limit), "")


def overall(seen: Seen | None) -> str:
    if seen is None:
        return "How much people would like it is not known, as the image encoder is not installed."
    at = min(max(round(seen.liked_percentile), 1), 99)
    text = f"People in general would probably rate it higher than {at} of 100 everyday photographs"
    if seen.disputed_percentile >= 75:
        text += ", and they differ about pictures of this kind more than about most"
    elif seen.disputed_percentile <= 25:
        text += ", and they mostly agree about pictures of this kind"
    return f"{text}."


def composition(found: Findings) -> str:
    where, parts = found.where, []
    if math.isnan(where.x):
        parts.append("No region stands out clearly from the rest.")
    else:
        place = spot(where.x, where.y)
        near = found.percentile("thirds") >= 75 and found.values["thirds"] >= 0.8 and place != "middle"
        rule = ", near a crossing of the lines of thirds" if near else ""
        parts.append(f"What stands out most lies in the {place} of the frame{rule}.")
    words = [called(found, name) for name in ("balance", "symmetry", "simplicity")]
    if any(words):
        parts.append(f"It is {_listed(words)}.")
    if not math.isnan(where.horizon_tilt):
        tilt = where.horizon_tilt
        lean = "level" if abs(tilt) < TILT else f"tilted by {abs(tilt):.1f} degrees {'clockwise' if tilt > 0 else 'anticlockwise'}"
        what = "A horizon" if abs(tilt) < TILT or where.horizon_strength >= SURE_LINE else "What may be a horizon"
        parts.append(f"{what} was found at {100 * where.horizon_height:.0f} % of the height; it is {lean}.")
    return " ".join(parts)


def colour(found: Findings) -> str:
    if is_colourless(found):
        return "It is as good as without colour."
    words = [called(found, name) for name in ("colourfulness", "saturation", "warmth", "hue focus")]
    return f"It is {_listed(words)}." if any(words) else "Colourfulness, saturation and warmth are all about those of an average photograph."


def light(found: Findings) -> str:
    words = [called(found, name) for name in ("brightness", "contrast", "tonal range")]
    if found.percentile("tonal range") < 50 and max(found.values["highlights"], found.values["shadows"]) >= CLIPPED:
        words[-1] = ""  # narrow as its tones are, they reach black or white
    parts = [f"It is {_listed(words)}." if any(words) else "Brightness and contrast are about those of an average photograph."]
    for name, colour_name in (("highlights", "white"), ("shadows", "black")):
        if found.values[name] >= CLIPPED:
            parts.append(f"{100 * found.values[name]:.0f} % of the pixels are as good as {colour_name}: no detail shows there.")
    return " ".join(parts)


def focus(found: Findings) -> str:
    if math.isnan(found.values["blur"]):
        return "The image is too small, or too even, to say anything about its focus."
    parts, blur = [], found.percentile("blur")
    # Large photographs look crisper than the reference photographs once they are made as small, so that only softness is news
    if is_soft(found):
        parts.append(f"It is softer than {min(blur, MOST):.0f} % of photographs at the size at which it was measured; a blurred background counts, too.")
    else:
        parts.append("At the size at which it was measured it is not unusually soft; blur that shows only at full size is not seen.")
    isolation = called(found, "subject isolation")
    if isolation:
        parts.append(f"It is {isolation}.")
    if found.percentile("noise") >= NOISY:
        parts.append("There is much fine grain: noise, or fine texture, which this measure cannot tell apart.")
    return " ".join(parts)


def subject(found: Findings) -> str:
    seen = found.seen
    if seen is None:
        return "What it shows is not known, as the image encoder is not installed."
    kinds = sorted(seen.kind.items(), key=lambda one: -one[1])
    (best, share), (second, other) = kinds[0], kinds[1]
    text = f"It looks like a picture of {_with_article(best)}" + (f" or {_with_article(second)}" if share - other < 0.25 else "")
    name, chance = seen.classes[0]
    if chance >= SURE:
        return f"{text}; of the 1000 ImageNet classes it is most like {name!r} ({100 * chance:.0f} %)."
    return f"{text}."


def feeling(found: Findings) -> str:
    """Words for light and colour only: feeling itself cannot be measured, and the text says so."""
    hue = ["without colour"] if is_colourless(found) else [called(found, name) for name in ("warmth", "colourfulness")]
    words = [called(found, "brightness"), *hue, called(found, "simplicity")]
    mood = f"By its numbers it is {_listed(words)}; what" if any(words) else "What"
    return f"{mood} it expresses, and what it makes people feel, cannot be measured: that needs a model that sees."


def is_colourless(found: Findings) -> bool:
    return found.values["colourfulness"] < COLOURLESS


def is_soft(found: Findings) -> bool:
    """Whether it is called soft; never where that cannot be measured."""
    return found.percentile("blur") >= SOFT and found.percentile("sharpness") <= UNSHARP


def spot(x: float, y: float) -> str:
    """Shares of width and height -> "upper left", "middle", "lower middle", ..."""
    columns, rows = _PLACES
    column, row = columns[min(int(x * 3), 2)], rows[min(int(y * 3), 2)]
    if column == row == "middle":
        return "middle"
    return f"{row} {column}" if row != "middle" else f"{column} middle"


def _with_article(kind: str) -> str:
    """ "Animal" -> "an animal"."""
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind.lower()}"


def _listed(words: list[str]) -> str:
    kept = [word for word in words if word]
    return kept[0] if len(kept) == 1 else f"{', '.join(kept[:-1])} and {kept[-1]}"
