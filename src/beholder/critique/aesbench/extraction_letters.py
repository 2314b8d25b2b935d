"""Letters of options in an answer: where they stand, whether they are said to be the answer, denied, or only named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST = 200  # letters looked at: of more, the first 50 and the last 150
NEAR = 400  # characters before and after a letter that tell what is said of it
# Words after a capital A (or I) that show it to be a letter, not the first word of a sentence
_VERBS = r"(?:is|was|seems?|fits?|would|looks?|because|and|or|nor|does|doesn't|isn't|can|cannot|can't|best|as|could|should|might|may|since|but|matches|describes|captures|appears|most|only|over|also|here|then|with)\b"
_STATED = re.compile(
    r"(?:\b(?:answer|answers|answer's|choice|selection|conclusion|verdict|response|solution)\b|\b(?:choose|chose|choosing|select"
    r"|selected|lean(?:ing)? towards?|inclined to|pick|picked|go with|going with|went with|opt for|settle on|settle for|"
    r"conclude|prefer|vote for|say|guess|respuesta|opci[oó]n correcta|antwort|r[eé]ponse|risposta|resposta|odpowied[zź]|cevap"
    r"|jawaban|antwoord|svar|ответ|выбираю|elijo|je choisis|w[aä]hle)\b"
    r"|答案|答え|答|正解|正确选项|选择|選擇|選択|我选|我選|选|選|정답|답"
    r"|\b(?:correct|best|right|most (?:suitable|appropriate|fitting|likely)|final|closest)\s+(?:option|one|letter|match|fit|label"
    r"|description)?\b"
    r"|\b(?:so|therefore|thus|hence|finally|overall|ultimately|consequently)\b|\b(?:it|this|that)(?:'s| is| was| must be| would be"
    r"| should be| has to be| is probably| might be)"
    r"|\b(?:but|rather|instead|actually|leaves?|leaving|remains)\b|=>|->|→|⇒)"
    r"(?P<between>[^.;!?\n]{0,40}?(?:[:=\n]\s*)*)$",
    re.IGNORECASE,
)
# what may stand between such words and the letter
_FILLER = re.compile(
    r"^(?:[\s:=,\"'(\[*\-]|\b(?:is|are|be|was|would|will|should|must|has|to|that|the|a|an|with|for|on|as|of|my|i|option|options"
    r"|letter|choice|answer|one|number|likely|most|probably|definitely|"
    r"clearly|simply|just|only|actually|therefore|thus|here|this|question|image|photo|picture|given|correct|best|right|final|it"
    r"|it's|us|me|se|es|est|ist|la|le|el|die|der|den|das|letra|lettre|buchstabe|opci[oó]n|option|è|é|jest|"
    r"not|nor|either|neither|correcta|correcte|richtige|bonne|above|among|these|go|both|between|say|choose|select|pick|would be)\b"
    r"|是|为|為|应该|應該|は|选项|選項|项|項|が|을|는|은|—|correct|правильный|вариант)*$",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"\b(?:not|neither|nor|never|no|isn't|aren't|wasn't|can't be|cannot be|rule out|ruled out|ruling out|eliminat\w+|exclud\w+"
    r"|except|other than|rather than|instead of|unlike|discard\w*|than|不是|nicht|nein|ni|ne|не)\b"
    r"(?:[\s,:(\"']|\b(?:option|options|the|either|be|answer|choice|letter|a|it|is|out|or|and|nor|by)\b)*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"^[)\].:\"'\s]*(?:[^.;!?\n]{0,60}?[\s:,\-]+)??(?:(?:is|are|was|were|does|do|did|can|could|would|seems?|has|have|be|looks?|may"
    r"|might)\s+)*(?:also\s+|both\s+|all\s+|clearly\s+|simply\s+|therefore\s+|either\s+|definitely\s+|obviously\s+)*"
    r"(?:not\b|wrong\b|incorrect\b|false\b|unlikely\b|inaccurate\b|inappropriate\b|irrelevant\b|eliminated\b|excluded\b|ruled out\b"
    r"|out\b(?! of)|isn't\b|aren't\b|doesn't\b|don't\b|can't\b|cannot\b|couldn't\b|wouldn't\b|won't\b|no\b(?=\s*(?:[,.;!]|$|\n))|✗"
    r"|❌|×)",
    re.IGNORECASE,
)
_STATED_AFTER = re.compile(
    r"^[)\].:\"'\s]*(?:[A-Za-z' \-]{0,60}?[\s:,\-]+)??(?:(?:is|are|was|seems?|would be|looks?|appears?|must be"
    r"|should be)\s+(?:to be\s+)?(?:[a-z]+\s+){0,3}?(?:correct|right|best|answer|suitable|appropriate|accurate|fitting|true|(?:more"
    r"|most)\s+[a-z]+)\b|(?:fits|matches|describes|suits|works|captures)\b[^.;!?\n]{0,30}?\b(?:best|most|well|better)\b"
    r"|fits\s*(?:[.,;!]|$)"
    r"|yes\b\s*[,.;!]|✓|✔|✅|が正解|は正しい|正确|正確|is it\b)",
    re.IGNORECASE,
)
_JOINED = re.compile(
    r"^[)\].\"'\s]*(?:,|/|&|\+|(?:,\s*)?\b(?:and|or|nor|und|oder|y|o|et|ou)\b|和|或|与|、)?[\s,]*(?:(?:option|either|also)\s+)?[(\[\"']*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mention:
    """One letter in an answer.

    Args:
        letter: in capitals.
        start, end: of the letter itself.
        marked: with a bracket, dot or colon, as options are listed: "A)", "(A)", "A.", "A:".
        first: nothing stands before it in its line.
        state: "stated" (it is said to be the answer), "denied" or "named".
        beyond: where the letter ends, or the option's own text, if that follows.
    """

    letter: str
    start: int
    end: int
    marked: bool
    first: bool
    state: str
    beyond: int


def mentions(text: str, options: Mapping[str, str]) -> list[Mention]:
    """The letters of options in a text, in order; articles and pronouns are none."""
    both = "".join(options) + "".join(options).lower()
    # letters of other scripts may touch it ("答案是B"), Latin ones may not
    pattern = re.compile(
        rf"(?<![A-Za-z0-9_\u00c0-\u024f'\-])(?<![A-Za-z]\.)(?<![A-Za-z]{{2}}/)([{both}])(?![A-Za-z0-9_\u00c0-\u024f'])(?!-[A-Za-z])"
    )
    found: list[Mention] = []
    matches = list(pattern.finditer(text))
    if len(matches) > MOST:
        matches = matches[: MOST // 4] + matches[-3 * MOST // 4 :]
    for match in matches:
        before, after = text[max(match.start() - NEAR, 0) : match.start()], text[match.end() : match.end() + NEAR]
        first = not before.rpartition("\n")[2].strip(" ([\"'-•\t")
        bracket = bool(re.match(r"\s?[)\]]", after))
        marked = bracket or bool(re.match(r"\s?[.:](?=\s|$|[A-Z])|\s-\s", after))
        if not _is_letter(match[1], before, after, bracket=bracket, marked=marked, first=first, alone=not re.search(r"\w", before + after)):
            continue
        option = options[match[1].upper()]
        rest = _beyond(after, option)
        state = _state(_before_text(before, option), rest)
        found.append(Mention(match[1].upper(), match.start(), match.end(), marked, first, state, match.end() + len(after) - len(rest)))
    return _grouped(text, found)


def by_letter(
    text: str, named: Sequence[Mention], *, stated_only: bool = False, options: Mapping[str, str] | None = None
) -> tuple[str, str] | None:
    """(letter, how) by the letters alone; None if they say nothing. The last statement counts: models correct themselves.

    Args:
        stated_only: look no further than at letters that are said to be the answer.
    """
    stated = [mention for mention in named if mention.state == "stated"]
    if stated:
        last = _group_of(text, named, stated[-1])
        return (last[0], "letter") if len(last) == 1 else ("", "several")
    if stated_only:
        return None
    options = options or {}
    if letter := leading(text, named, options=options):
        return letter, "letter"
    if named and _alone(text, named[-1]) and not any(_alone(text, one) for one in named[:-1]) and named[-1].state == "named":
        return named[-1].letter, "letter"  # the options once more, and below them the answer
    kept = list(dict.fromkeys(mention.letter for mention in named if mention.state == "named"))
    denied = {mention.letter for mention in named if mention.state == "denied"}
    kept = [letter for letter in kept if letter not in denied]
    if len(kept) == 1:
        return kept[0], "letter"
    if len(kept) > 1:
        return "", "several"
    rest = [letter for letter in options if letter not in denied]
    return (rest[0], "elimination") if denied and len(rest) == 1 else None


def _alone(text: str, mention: Mention) -> bool:
    """Whether nothing else stands in its line."""
    return mention.first and not re.search(r"\w", text[mention.end : mention.end + NEAR].partition("\n")[0])


def leading(text: str, named: Sequence[Mention], *, options: Mapping[str, str]) -> str:
    """The letter that the answer begins with, unless it goes on to list others in the same way; "" if there is none."""
    if (
        not named
        or named[0].state == "denied"
        or not named[0].first
        or re.search(r"\w", re.sub(r"(?i)\boption\b", "", text[: named[0].start]))
    ):
        return ""
    if len(_group_of(text, named, named[0])) > 1:
        return ""
    if len(named) > 1 and named[1].letter != named[0].letter and not re.search(r"\w", text[named[0].end : named[1].start]):
        return ""  # "A B C D"
    others = {one.letter for one in named if one.letter != named[0].letter and one.state == "named" and _listed(text, one, options)}
    return (
        "" if others and (len(others) + 1 == len(options) or any(one.first and one.letter in others for one in named)) else named[0].letter
    )


def _listed(text: str, mention: Mention, options: Mapping[str, str]) -> bool:
    """Whether it stands as in a list of options: marked, with its text behind it, or at the beginning of a line."""
    follows = text[mention.end : mention.end + NEAR].lstrip(" ).:]-").casefold()
    return mention.marked and (mention.first or follows.startswith(options.get(mention.letter, "\0").casefold()))


def _is_letter(letter: str, before: str, after: str, *, bracket: bool, marked: bool, first: bool, alone: bool) -> bool:
    if bracket or alone:
        return True
    if letter.islower():  # "a", "i" and "d" are words or parts of words: only at the end of what asks for a letter
        cue = re.search(r"(?i)(?:answer|option|choice|letter|choose|select|pick)\W*(?:is|are|be|would be|option|letter)?\W*$", before)
        return bool((cue or first) and re.match(r"\s*(?:[.,;:!\"'\]]|$|\n)", after))
    if letter in "AI" and not marked:
        return not re.match(r"\s+[a-z]", after) or bool(re.match(rf"\s+{_VERBS}", after))
    return True


def _state(before: str, after: str) -> str:
    clause = re.split(r"[.;!?\n](?=\s)|\n\n", before)[-1]
    clause = re.split(r"(?i),\s*(?=but\b|so\b|therefore\b|thus\b)|\bno\s*[,:]|\b(?=but\b)", clause)[-1]
    if _DENIED_BEFORE.search(clause):
        return "denied"
    if _DENIED_AFTER.match(_clause(after)):
        return "denied"
    if _STATED_AFTER.match(after):
        return "stated"
    near = before[-120:]
    if not re.search(r"[:=]\s*$", near):
        near = re.split(r"[.;!?](?=\s)|\n\n", near)[-1]
    cue = _STATED.search(near.rstrip(" ([\"'"))
    return "stated" if cue and _FILLER.match(cue["between"]) else "named"


def _beyond(after: str, option: str) -> str:
    """What follows a letter, without the option's own text: "B) No" and "B) Not sharp" deny nothing."""
    own = re.match(r"[)\].:,\"'\s\-]*" + r"\s+".join(map(re.escape, option.split())), after, re.IGNORECASE)
    return after[own.end() :] if own else after


def _before_text(before: str, option: str) -> str:
    """What precedes a letter, without the option's own text: "not joy (option A)" denies A."""
    near = before[-len(option) - 200 :]
    return re.sub(r"(?<!\w)" + r"\s+".join(map(re.escape, option.split())) + r"\W*(?:\boption\W*)?$", "", near, flags=re.IGNORECASE)


def _clause(text: str) -> str:
    """Up to the end of the clause that begins here; the dot of "A." is not that."""
    text = re.sub(r"^[)\].:\s]+", " ", text)
    return re.split(r"[.;!?\n]|,\s*(?:so|but|and|therefore|while|whereas)\b|\bbut\b", text)[0]


def _grouped(text: str, found: list[Mention]) -> list[Mention]:
    """Letters that are joined ("A or B", "A, B and C") share what is said before the first and after the last of them."""
    result = list(found)
    for i in range(len(result) - 1):
        if _joined(text, result[i], result[i + 1]) and result[i].state == "denied" and result[i + 1].state == "named":
            result[i + 1] = Mention(**{**vars(result[i + 1]), "state": "denied"})
    for i in reversed(range(len(result) - 1)):
        if (
            _joined(text, result[i], result[i + 1])
            and result[i + 1].state == "denied"
            and result[i].state == "named"
            and not result[i].first
        ):
            result[i] = Mention(**{**vars(result[i]), "state": "denied"})
    return result


def _joined(text: str, left: Mention, right: Mention) -> bool:
    between = text[left.beyond : right.start]
    return bool(between.strip(" \n.)(")) and "\n" not in between and bool(_JOINED.match(between))


def _group_of(text: str, named: Sequence[Mention], mention: Mention) -> list[str]:
    """The letters joined with one, itself first, without those that are denied."""
    place = list(named).index(mention)
    group = [mention.letter]
    for i in range(place, len(named) - 1):
        if not _joined(text, named[i], named[i + 1]):
            break
        group += [named[i + 1].letter] if named[i + 1].state != "denied" else []
    for i in range(place, 0, -1):
        if not _joined(text, named[i - 1], named[i]):
            break
        group += [named[i - 1].letter] if named[i - 1].state != "denied" else []
    return list(dict.fromkeys(group))
