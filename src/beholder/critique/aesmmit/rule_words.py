"""Words of the writer that follows rules: which attribute a sentence speaks of, whether it praises, and what would be the contrary. English; ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Attribute -> (dimension of AesVQA, stems that name it). The first that a sentence names is the one it is about.
ATTRIBUTES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "light": ("attribute", ("light", "lighting", "lit", "backlit", "exposure", "overexposed", "underexposed", "shadow", "shadows", "sunlight", "glow", "highlights", "dark", "bright", "dim")),
    "colour": ("attribute", ("colour", "colours", "color", "colors", "colouring", "coloring", "hue", "hues", "tone", "tones", "saturation", "saturated", "palette", "tint", "monochrome", "vivid")),
    "composition": ("attribute", ("composition", "composed", "framing", "framed", "crop", "cropped", "balance", "balanced", "symmetry", "symmetrical", "symmetric", "perspective", "horizon", "angle", "layout", "viewpoint", "centred", "centered", "off-centre", "cluttered")),
    "clarity": ("quality", ("clarity", "clear", "sharp", "sharpness", "blur", "blurry", "blurred", "focus", "focused", "noise", "noisy", "grain", "grainy", "detail", "details", "resolution", "pixelated", "hazy", "depth of field")),
    "subject": ("attribute", ("subject", "object", "objects", "content", "figure", "face", "foreground", "background", "animal", "portrait", "motif")),
    "scene": ("context", ("scene", "story", "place", "moment", "occasion", "season", "morning", "evening", "night", "weather", "event", "suggests", "reminds")),
}  # fmt: skip
PRAISE = _words(
    "beautiful beautifully good great lovely nice excellent pleasant pleasing attractive stunning wonderful charming perfect soft warm vivid rich "
    "harmonious harmonise harmonize balanced sharp crisp clear clean elegant gentle bright interesting striking strong well delicate smooth natural "
    "creative impressive captivating calm peaceful joyful appealing enhances enhance improves helps effective careful pretty gorgeous fine"
)
BLAME = _words(
    "bad badly poor poorly ugly dull flat harsh blurry blurred noisy grainy boring messy cluttered dark dim muddy washed-out washed overexposed underexposed "
    "crooked tilted unbalanced distracting distracts weak cheap lacks lack lacking missing plain unclear hazy pixelated monotonous gloomy unpleasant "
    "confusing disturbing awkward cold lifeless faded oversaturated clashing clash ruins spoils hurts unattractive mediocre"
)
NEGATIONS = _words("not no never without hardly barely isn't aren't doesn't don't wasn't nothing too")
_PAIRS = [
    tuple(pair.split("/"))
    for pair in sorted(
        _words(
            """soft/harsh warm/cold bright/dark sharp/blurry clear/hazy vivid/dull rich/faint balanced/unbalanced clean/cluttered simple/overloaded
            calm/agitated peaceful/uneasy happy/sad beautiful/ugly good/bad great/poor lovely/hideous nice/unpleasant pleasing/irritating
            interesting/boring strong/weak harmonious/clashing gentle/glaring smooth/rough natural/artificial centred/off-centre straight/tilted
            near/far high/low more/less large/small wide/narrow tighter/wider closer/farther brighter/darker warmer/cooler sharper/blurrier softer/harsher
            brighten/darken sharpen/blur increase/reduce raise/lower add/remove enhances/spoils helps/harms well/badly empty/crowded lively/lifeless
            cheerful/gloomy cosy/forbidding comfortable/uncomfortable relaxed/tense excited/bored quiet/noisy delicate/crude elegant/clumsy
            saturated/pale shallow/deep morning/evening summer/winter overexposed/underexposed pleasant/disagreeable quietly/noisily"""
        )
    )
]
_CONTRARY = {second: first for first, second in _PAIRS} | dict(_PAIRS)

# What is contrary to praise (first) or to blame (second) of an attribute; wrong where the opposite was said.
AGAINST: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "light": (
        ("The light is harsh and flattens everything.", "The image is too dark for anything to be seen.", "The bright parts are burnt out and lose all detail."),
        ("The light is soft and shapes everything.", "The exposure is right from the shadows to the bright parts.", "The light falls gently and leads the eye."),
    ),
    "colour": (
        ("The colours are dull and do not go together.", "The colours are far too strong and look artificial.", "A muddy tint lies over the whole image."),
        ("The colours are rich and go well together.", "The palette is restrained and harmonious.", "The tones are natural and pleasant to look at."),
    ),
    "composition": (
        ("The composition is crooked and finds no balance.", "The frame is cluttered and nothing leads the eye.", "The main part is cut off at the edge."),
        ("The composition is calm and well balanced.", "The frame is tidy and leads the eye to the main part.", "The parts are placed with care."),
    ),
    "clarity": (
        ("Everything is blurred and the details are lost.", "Strong noise covers the image.", "The focus lies on the wrong place."),
        ("Everything that matters is sharp and rich in detail.", "The image is clean and free of noise.", "The focus lies exactly where it should."),
    ),
    "subject": (
        ("There is nothing in it that could hold the eye.", "The main object is lost in its surroundings.", "What is shown is commonplace and uninteresting."),
        ("The main object stands out at once.", "What is shown is rare and holds the eye.", "The main object is set off well from its surroundings."),
    ),
    "scene": (
        ("The scene tells nothing and could be anywhere.", "The moment was missed.", "Nothing seems to happen in the scene."),
        ("The scene tells a story at first sight.", "The moment was caught exactly.", "The scene is full of life."),
    ),
}  # fmt: skip
FEELINGS: tuple[tuple[str, ...], tuple[str, ...]] = (  # contrary to pleasant ones, contrary to unpleasant ones
    ("It feels gloomy and oppressive.", "It makes one restless and tense.", "It leaves one bored and indifferent."),
    ("It feels cheerful and light.", "It makes one calm and content.", "It awakens curiosity and delight."),
)
PLEASANT = PRAISE | _words("happy happiness joy relaxed serene cosy cheerful comfortable lively hopeful tranquil freedom love romantic excited amazed nostalgic")
UNPLEASANT = BLAME | _words("sad sadness lonely tense uneasy fear afraid depressed depressing bored anxious angry disgust empty oppressive nothing indifferent uncomfortable")
# Advice that would be wrong where the attribute is praised.
ADVICE: Mapping[str, str] = {
    "light": "Change the light, which is the weakest part.",
    "colour": "Give it entirely different colours.",
    "composition": "Rearrange the whole composition.",
    "clarity": "Make the whole image less sharp.",
    "subject": "Hide the main object behind something else.",
}
GENERAL_ADVICE = ("Add a wide white border with a caption.", "Cover the middle of the image with text.", "Turn the image upside down.")
QUALITY = ("very poor", "poor", "average", "good", "excellent")  # grades 1 to 5
_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*")


def attribute_of(sentence: str) -> str:
    """The attribute that is named first; "" for none."""
    found = [
        (place.start(), name)
        for name, (_, stems) in ATTRIBUTES.items()
        if (place := re.search(rf"\b(?:{'|'.join(map(re.escape, stems))})\b", sentence, re.IGNORECASE))
    ]
    nouns = [(start, name) for start, name in found if re.search(rf"\b(?:{'|'.join(ATTRIBUTES[name][1][:4])})\b", sentence, re.IGNORECASE)]
    return min(nouns or found, default=(0, ""))[1]


def leaning(sentence: str, *, good: frozenset[str] = PRAISE, bad: frozenset[str] = BLAME) -> int:
    """1 = praises, -1 = blames, 0 = neither or both. A negation up to three words before turns a word round."""
    signs = set()
    for clause in re.split(r"[,;:]|\bbut\b", sentence.lower()):
        words = _WORD.findall(clause)
        for place, word in enumerate(words):
            sign = (word in good) - (word in bad)
            if sign:
                before = words[max(place - 3, 0) : place]
                turned = any(other in NEGATIONS for other in before) and not (sign < 0 and "too" in before)
                signs.add(-sign if turned else sign)
    return signs.pop() if len(signs) == 1 else 0


def contrary(sentence: str) -> str:
    """The sentence with each word that has a contrary exchanged for it; "" if there is none, or if it would not be plain what is said then."""
    count = 0

    def other(match: re.Match[str]) -> str:
        nonlocal count
        word = _CONTRARY.get(match[0].lower())
        if word is None:
            return match[0]
        count += 1
        return word.capitalize() if match[0][0].isupper() else word

    made = _WORD.sub(other, sentence)
    return made if count else ""


def sentences(text: str) -> list[str]:
    """Sentences, and parts between semicolons, with a stop at the end; those that hang on what came before ("It ...") are kept as they are."""
    parts = [part.strip(" ,") for part in re.split(r"(?<=[.!?])\s+|;\s*", text)]
    return [part[0].upper() + part[1:] + ("" if part[-1] in ".!?…" else ".") for part in parts if len(part.split()) > 1]


def nearest_in_length(texts: Sequence[str], answer: str) -> list[str]:
    return sorted(texts, key=lambda text: (abs(len(text) - len(answer)), text))
