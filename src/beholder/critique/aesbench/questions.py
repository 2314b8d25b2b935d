"""What AesBench asks, however its files spell it: four parts, three with options and one answered in free text. No torch.

AesP (perception), AesE (empathy) and AesA (assessment) are multiple choice; AesI (interpretation) is free text that a judge grades. Every image
has one question of each part (Huang et al. 2024, arXiv 2401.08276; section 5.1 of the AesExpert paper).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from beholder.errors import BeholderError

PARTS = ("AesP", "AesE", "AesA", "AesI")
CHOICE_PARTS = ("AesP", "AesE", "AesA")
DIMENSIONS: dict[str, tuple[str, ...]] = {
    "AesP": ("technical quality", "colour and light", "composition", "content"),
    "AesE": ("emotion", "interest", "uniqueness", "vibe"),
    "AesA": (),
    "AesI": (),
}
SOURCES = ("NI", "AI", "AGI")  # photographs; art; images made by AI
QTYPES = ("yes-no", "what", "how", "why", "other")


@dataclass(frozen=True)
class Question:
    """One question.

    Args:
        image: name of the image in the benchmark; `Benchmark.path` gives its file. No two questions of a part have the same.
        part: one of `PARTS`.
        text: the question alone, without the options.
        options: (letter, text), in order; () for AesI.
        answer: letter of the right option; "" = not published (the test set).
        reference: what experts wrote (AesI); "" = not published.
        dimension: one of `DIMENSIONS[part]`; "" = not told.
        source: one of `SOURCES`; "" = not told and not to be guessed.
        qtype: one of `QTYPES`; "" for AesA and AesI.
        id: as the files number it; else "PART/IMAGE". Unique.
        hint: shown before the question (tables of VLMEvalKit).
        shown: the options as the file spells them, for prompts that are the same to the letter; "" = made from `options`.
    """

    image: str
    part: str
    text: str
    options: tuple[tuple[str, str], ...] = ()
    answer: str = ""
    reference: str = ""
    dimension: str = ""
    source: str = ""
    qtype: str = ""
    id: str = ""
    hint: str = ""
    shown: str = ""


@dataclass(frozen=True)
class Benchmark:
    """Questions in the order of the file, and where the images are.

    Args:
        name: of the file, for titles.
        images: the folder of the images; None if no folder holds them all.
        notes: one sentence for everything that was inferred, respelled or left out.
        files: image -> file, where that is not `images`/image.
    """

    name: str
    questions: tuple[Question, ...]
    images: Path | None = None
    notes: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[str, ...]:
        """Those that have questions, in the order of `PARTS`."""
        there = {question.part for question in self.questions}
        return tuple(part for part in PARTS if part in there)

    @property
    def image_names(self) -> tuple[str, ...]:
        """Each once, in the order of the file."""
        return tuple(dict.fromkeys(question.image for question in self.questions))

    def of_part(self, part: str) -> list[Question]:
        """The questions of one part, in the order of the file."""
        return [question for question in self.questions if question.part == part]

    def path(self, image: str) -> Path:
        """The file of an image.

        Raises:
            BeholderError: the benchmark was read without its images.
        """
        if image in self.files:
            return Path(self.files[image])
        if self.images is None:
            raise BeholderError(f"{self.name} was read without its images, so {image} cannot be shown: put them into images/ beside it")
        return self.images / image

    def narrowed(self, *, parts: Sequence[str] | None = None, limit: int | None = None) -> Benchmark:
        """Some parts only, and the questions about the first `limit` images only.

        Raises:
            BeholderError: a part of another name, or one without questions; a limit below 1.
        """
        wanted = self.parts if parts is None else known_parts(parts)
        for part in wanted:
            if part not in self.parts:
                raise BeholderError(f"{self.name} has no questions of {part}: it has {', '.join(self.parts)}")
        if limit is not None and limit < 1:
            raise BeholderError(f"limit = {limit} leaves no image: give 1 or more")
        images = set(self.image_names[:limit])
        kept = tuple(question for question in self.questions if question.part in wanted and question.image in images)
        return replace(self, questions=kept)


def known_parts(parts: Sequence[str]) -> tuple[str, ...]:
    """The parts in the order of `PARTS`, each once; case does not matter, and "AesA1" is AesA.

    Raises:
        BeholderError: another name, or none.
    """
    spelled = {part.casefold(): part for part in PARTS} | {"aesa1": "AesA"}
    found = set()
    for name in parts:
        if name.strip().casefold() not in spelled:
            raise BeholderError(f"AesBench has no part {name!r}: give some of {', '.join(PARTS)}")
        found.add(spelled[name.strip().casefold()])
    if not found:
        raise BeholderError(f"no part of AesBench was named: give some of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in found)
