"""From feedback to instruction data: descriptions, and AesVQA as open questions and as multiple choice (AesExpert, section 3.3)."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beholder.backbones.chat import GOES_ON
from beholder.critique.aesmmit.balance import arranged, longest_share, positions
from beholder.critique.aesmmit.card import TITLE, card
from beholder.critique.aesmmit.descriptions import descriptions, facts_of
from beholder.critique.aesmmit.duplicates import too_common
from beholder.critique.aesmmit.feedback import Feedback
from beholder.critique.aesmmit.instructions import FILE, LETTERS, Instruction, choice_question, write_instructions
from beholder.critique.aesmmit.ledger import FILE as WRITTEN
from beholder.critique.aesmmit.ledger import Ledger
from beholder.critique.aesmmit.questions import PER_IMAGE, Written, said
from beholder.critique.aesmmit.reading import normalised
from beholder.critique.aesmmit.writers import OneImage, QuestionWriter
from beholder.errors import BeholderError
from beholder.located import SHOWN, SkippedInput
from beholder.photos import IMAGE_SUFFIXES, file_prefix, kind_of, why_no_image
from beholder.whole_file import write_whole

CHOOSE = "Answer with the letter of the right option."
USELESS = 10  # images without a usable question, while there is none of any image, after which a writer is not asked further
Progress = Callable[[int, int, str], None]  # images done, of how many, which


class _Useless(BeholderError):
    """Going on would lead nowhere."""


@dataclass(frozen=True)
class BuildResult:
    """What was made.

    Args:
        out: folder with aesmmit.json, statistics.json, README.md and written.jsonl.
        writer: its name.
        images: with at least one item.
        descriptions, open, choice: items of each type.
        rejected: reason -> questions of the writer that cannot be used.
        mended: what was put right in the others -> how often.
        duplicates: questions dropped because the same image has nearly the same, or a description by the same words; too_common: because too many images had the same with this answer.
        positions: number of options -> letter -> how often it is the right one.
        longest: see `longest_share`.
        calls: to the writer; kept_calls: of these, answered by an earlier run in the same folder.
        prompt_tokens, completion_tokens: of all calls.
        cost: of this run's calls, in the currency of the prices; None without prices.
        failed: image -> why the writer made nothing, or not all, of it; its descriptions are there all the same.
        skipped: image -> why it is left out altogether.
        other_script: questions in another script than the feedback's; they are marked.
        notes: one sentence each; what the writer has to say of itself is in `QuestionWriter.notes`.
    """

    out: Path
    writer: str
    images: int
    descriptions: int
    open: int
    choice: int
    rejected: Mapping[str, int]
    mended: Mapping[str, int]
    duplicates: int
    too_common: int
    positions: Mapping[str, Mapping[str, int]]
    longest: Mapping[str, Any]
    calls: int
    kept_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None = None
    failed: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    other_script: int = 0
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: os.fspath(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def build(
    feedback: Sequence[Feedback],
    *,
    images: str | os.PathLike,
    writer: QuestionWriter,
    out: str | os.PathLike,
    per_image: int = PER_IMAGE,
    seed: int = 0,
    licence: str = "",
    progress: Progress | None = None,
) -> BuildResult:
    """Make instruction data. After an interruption the same call goes on where it was, and repeats no call that was answered.

    Images without a readable file are left out and named (`SkippedInput`), as are those of which the writer made nothing.

    Args:
        images: folder that the feedback's paths start from; the images stay there.
        out: folder of the dataset.
        per_image: questions wanted of each image; each becomes an open item and one of multiple choice.
        seed: of the writer's sampling, and of the places of the right options.
        licence: of the feedback and so of the data, for the card.

    Raises:
        BeholderError: nothing can be made, nobody answers for the writer, it gives nothing usable, or `out` holds answers made with other settings.
    """
    images, out = Path(images), Path(out)
    if per_image < 1:
        raise BeholderError(f"per_image = {per_image} makes no questions: give 1 or more")
    if not images.is_dir():
        raise BeholderError(f"{images} is no folder: name the one that the feedback's image paths start from")
    by_image: dict[str, list[Feedback]] = {}
    for one in feedback:
        by_image.setdefault(one.image, []).append(one)
    skipped = {name: reason for name in by_image if (reason := _why_not(images / name))}
    for name, reason in list(skipped.items())[:20]:
        warnings.warn(f"{images / name} {reason}; its feedback is left out", SkippedInput, stacklevel=2)
    if len(skipped) > 20:
        warnings.warn(f"{len(skipped) - 20} more images cannot be read; their feedback is left out", SkippedInput, stacklevel=2)
    used = {name: tuple(each) for name, each in by_image.items() if name not in skipped}
    if not used:
        raise BeholderError(f"there is no image with feedback in {images}: name the folder that the feedback's image paths start from")
    _not_somebody_elses(out)
    settings = {"writer": writer.name, "version": writer.version, "per_image": per_image, "seed": seed}
    asked = {name: OneImage(each, per_image, seed) for name, each in used.items()}
    with Ledger(out, settings=settings) as ledger:
        kept_calls, tokens = _ask(asked, writer, ledger, progress)
    failed = {name: image.failed for name, image in asked.items() if image.failed}
    if failed:
        names = "; ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:SHOWN])
        more = f"; and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        warnings.warn(f"{writer.name} did not make all it should of {len(failed)} images ({names}{more}); the rest is there", SkippedInput, stacklevel=2)
    told = descriptions([one for each in used.values() for one in each])
    questions = {(item.image, normalised(item.question)) for item in told}  # people's answers to these are there already
    every = [(name, one) for name, image in asked.items() for one in image.written]
    flat = [(name, one) for name, one in every if (name, normalised(one.question)) not in questions]
    dropped = too_common(flat)
    pairs = [pair for place, pair in enumerate(flat) if place not in dropped]
    asking = _items(pairs, used, writer=writer.name, seed=seed)
    items = _in_order(used, told, asking)
    places: dict[str, Counter[str]] = {}
    for item in asking:
        if item.type == "choice":
            places.setdefault(str(len(item.options)), Counter())[item.answer] += 1
    longest = longest_share([(one.answer, one.wrong) for _, one in pairs if one.wrong])
    notes = []
    if longest["telltale"]:
        notes.append(
            f"the right option is the longest in {longest['share']:.0%} of {longest['n']} questions ({longest['chance']:.0%} by chance), which gives "
            f"answers away: take another writer, or train on the open questions"
        )
    nobody = _without_feedback(images, by_image)
    if nobody:
        notes.append(f"{len(nobody)} images in {images} have no feedback: {', '.join(nobody[:SHOWN])}{' ...' if len(nobody) > SHOWN else ''}")
    types = Counter(item.type for item in items)
    result = BuildResult(
        out=out,
        writer=writer.name,
        images=len({item.image for item in items}),
        descriptions=types["description"],
        open=types["open"],
        choice=types["choice"],
        rejected=dict(sum((image.rejected for image in asked.values()), Counter()).most_common()),
        mended=dict(sum((image.mended for image in asked.values()), Counter()).most_common()),
        duplicates=sum(image.duplicates for image in asked.values()) + len(every) - len(flat),
        too_common=len(dropped),
        positions={count: dict(sorted(found.items())) for count, found in sorted(places.items())},
        longest=longest,
        calls=sum(image.calls for image in asked.values()),
        kept_calls=kept_calls,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        cost=writer.cost,
        failed=failed,
        skipped=skipped,
        other_script=sum(1 for item in asking if item.type == "open" and "flag" in item.more),
        notes=tuple(notes),
    )
    write_instructions(out / FILE, items)
    made = {name: value for name, value in result.to_json().items() if name != "out"}  # a dataset that is passed on tells no paths of this machine
    _write(out / "statistics.json", json.dumps(_statistics(items) | {"build": made, "settings": settings}, indent=1, ensure_ascii=False))
    _write(out / "README.md", card(result, items, settings=settings, licence=licence))
    return result


def _not_somebody_elses(out: Path) -> None:
    """A README.md in `out` is replaced by the card: it must be one. And a dataset is not put between photographs."""
    readme = out / "README.md"
    if readme.is_file() and TITLE not in readme.read_text(encoding="utf-8", errors="replace"):
        raise BeholderError(f"{readme} is not the card of a dataset and would be lost: name a folder of its own with --out")
    if out.is_dir() and not any((out / name).exists() for name in (FILE, WRITTEN)) and any(file.suffix.lower() in IMAGE_SUFFIXES for file in out.iterdir()):
        raise BeholderError(f"{out} is a folder of photographs: name a folder of its own with --out")


def _ask(asked: Mapping[str, OneImage], writer: QuestionWriter, ledger: Ledger, progress: Progress | None) -> tuple[int, tuple[int, int]]:
    """All calls that are due, kept ones first. Returns (kept calls, (tokens in, tokens out))."""
    keys = {name: _key(image.feedback) for name, image in asked.items()}
    kept, n_in, n_out = 0, 0, 0
    for name, image in asked.items():
        while (call := image.next()) is not None and (answer := ledger.get(keys[name], image.calls)) is not None:
            image.take(answer)
            kept, n_in, n_out = kept + 1, n_in + answer.prompt_tokens, n_out + answer.completion_tokens

    def done() -> int:
        return sum(image.over for image in asked.values())

    finished, last = done(), ""
    useless: set[str] = set()
    if progress:
        progress(finished, len(asked), "images")
    while calls := {name: call for name, image in asked.items() if (call := image.next()) is not None}:
        names = list(calls)
        try:
            for place, answer in writer.answers(list(calls.values())):
                last = names[place]
                image = asked[last]
                ledger.put(keys[last], image.calls, answer, image=last)
                image.take(answer)
                finished += image.over
                n_in, n_out = n_in + answer.prompt_tokens, n_out + answer.completion_tokens
                useless = useless if image.written else useless | {last}
                if len(useless) >= USELESS and not any(each.written for each in asked.values()):
                    why = Counter(reason for name in useless for reason in ([asked[name].failed] if asked[name].failed else asked[name].last)).most_common(1)
                    raise _Useless(f"{writer.name} gave no usable question of {USELESS} images (mostly: {why[0][0] if why else 'nothing'}): name another writer and another --out")
                if progress:
                    progress(finished, len(asked), last)
        except _Useless:
            raise
        except BeholderError as error:
            said_already = str(error).removesuffix(f": {GOES_ON}")
            raise BeholderError(f"{said_already}; {finished} of {len(asked)} images are done and kept in {ledger.path}, and the same command goes on from there") from None
    return kept, (n_in, n_out)


def _items(pairs: Sequence[tuple[str, Written]], feedback: Mapping[str, Sequence[Feedback]], *, writer: str, seed: int) -> list[Instruction]:
    """Each question as an open item and, if it has alternatives, as one of multiple choice, by letter."""
    ids = [_digest(name, one.question) for name, one in pairs]
    choices = [place for place, (_, one) in enumerate(pairs) if one.wrong]
    groups = {place: (pairs[place][1].qtype, pairs[place][1].answer if pairs[place][1].qtype == "yes-no" else "") for place in choices}
    letters = dict(zip(choices, positions([(ids[place], 1 + len(pairs[place][1].wrong), groups[place]) for place in choices], seed=seed), strict=True))
    found = []
    for place, (name, one) in enumerate(pairs):
        more: dict[str, Any] = {key: value for key, value in facts_of(feedback[name][0]).items() if key != "grade"} | {"writer": writer}
        if _latin(" ".join(each.whole() for each in feedback[name])) > 0.5 > _latin(one.question + one.answer):
            more["flag"] = "other script than the feedback"
        common = {"image": name, "qtype": one.qtype, "dimension": one.dimension, "more": more}
        found.append(Instruction(id=f"{ids[place]}-open", turns=((one.question, one.answer),), type="open", **common))
        if place in letters:
            at = letters[place]
            options = arranged(one.answer, one.wrong, at=at, id=ids[place], seed=seed)
            text = f"{choice_question(one.question, options)}\n{CHOOSE}"
            found.append(Instruction(id=f"{ids[place]}-choice", turns=((text, LETTERS[at]),), type="choice", options=options, answer=LETTERS[at], **common))
    return found


def _in_order(names: Mapping[str, object], *parts: Sequence[Instruction]) -> list[Instruction]:
    """Image by image, so that both kinds of items of an image are near each other in the file."""
    by_image: dict[str, list[Instruction]] = {name: [] for name in names}
    for part in parts:
        for item in part:
            by_image[item.image].append(item)
    return [item for each in by_image.values() for item in each]


def _statistics(items: Sequence[Instruction]) -> dict[str, Any]:
    from beholder.critique.aesmmit.statistics import statistics

    return dict(statistics(items).to_json())


def _why_not(file: Path) -> str:
    """Why a file is no image; "" for images."""
    if not file.is_file():
        return "is missing"
    try:
        prefix = file_prefix(os.fspath(file))
    except (OSError, BeholderError) as error:
        return f"cannot be read ({error})"
    return "" if kind_of(prefix) else why_no_image(prefix)


def _without_feedback(images: Path, known: Mapping[str, object]) -> list[str]:
    """Images in the folder that nobody said anything of, by their endings."""
    endings = {os.path.splitext(name)[1].lower() for name in known}
    found = []
    for folder, folders, files in os.walk(images):
        folders.sort()
        names = ((Path(folder) / file).relative_to(images).as_posix() for file in sorted(files) if os.path.splitext(file)[1].lower() in endings)
        found += [name for name in names if name not in known]
    return found


def _key(feedback: Sequence[Feedback]) -> str:
    """Of what a writer is shown of an image, and which image it is."""
    return _digest(feedback[0].image, json.dumps(said(feedback), sort_keys=True))


def _digest(*parts: str) -> str:
    return hashlib.blake2b("\0".join(parts).encode("utf-8", errors="surrogatepass"), digest_size=8).hexdigest()


def _latin(text: str) -> float:
    """Share of the letters that are Latin; 1 without letters."""
    letters = [sign for sign in text if sign.isalpha()]
    return sum(unicodedata.name(sign, "").startswith("LATIN") for sign in letters) / len(letters) if letters else 1.0


def _write(file: Path, text: str) -> None:
    write_whole(file, text + "\n", advice="make room, and give the same command again")
