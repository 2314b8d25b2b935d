"""What instruction data consist of, beside what the paper says of its own (AesExpert, section 3, Table 1 and Figure 3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beholder.critique.aesmmit.answer_bias import words, yes_or_no
from beholder.critique.aesmmit.instructions import Instruction, choice_of, stem
from beholder.errors import BeholderError, MissingExtra

# What the paper states of AesMMIT; whatever it does not state is not here. Sources: Table 1.
PAPER_COUNTS: Mapping[str, int] = {"items": 409_000, "images": 21_904, "descriptions": 88_000, "subjects": 48}
PAPER_SOURCES: Mapping[str, int] = {"natural": 11_976, "artistic": 4_986, "generated": 4_942}
PAPER_DATASETS: Mapping[str, tuple[str, int]] = {
    "AADB": ("natural", 1096),
    "PARA": ("natural", 3694),
    "TAD66K": ("natural", 4003),
    "LITE": ("natural", 1087),
    "Impressions": ("natural", 152),
    "SPAQ": ("natural", 1153),
    "KonIQ-10K": ("natural", 791),
    "BAID": ("artistic", 2970),
    "CAD": ("artistic", 59),
    "ArtEmis": ("artistic", 1957),
    "DiffusionDB": ("generated", 4228),
    "AGIQA-3K": ("generated", 570),
    "AGIQA-1K": ("generated", 144),
}
_ROUND = {"items", "descriptions"}  # which of the counts the paper gives in thousands
UNKNOWN = "not said"
TOP = 20
# Function words, and what every item about an image says; what is left is mostly nouns, adjectives and adverbs, which is what Figure 3 shows. The paper
# does not say how it chose them; we use no tagger, only this list.
STOP_WORDS = frozenset((Path(__file__).parent / "stop_words.txt").read_text(encoding="utf-8").split())


@dataclass(frozen=True)
class Lengths:
    """Numbers of words: median, mean, and the most; 0 for no texts."""

    median: float
    mean: float
    most: int

    @classmethod
    def of(cls, counts: Sequence[int]) -> Lengths:
        if not counts:
            return cls(0.0, 0.0, 0)
        return cls(float(np.median(counts)), round(float(np.mean(counts)), 2), int(max(counts)))


@dataclass(frozen=True)
class Statistics:
    """Counts over all items, unless said otherwise.

    Args:
        items, images, subjects, turns: images and subjects count once each; the nameless subject does not count.
        descriptions: items of type "description".
        types, qtypes, dimensions: name -> items; "not said" where an item has none.
        sources, datasets: name -> images; by the file name's beginning ("baid_18347.jpg") where the item does not say.
        question_words, answer_words: of each turn; a multiple choice without its options.
        top_words: the most frequent (word, times) of questions and answers without `STOP_WORDS`.
        answer_positions: number of options -> letter of the right one -> items.
        yes_no: "yes" and "no" -> answers that begin with it, multiple choices apart.
    """

    items: int
    images: int
    subjects: int
    turns: int
    descriptions: int
    types: Mapping[str, int]
    qtypes: Mapping[str, int]
    dimensions: Mapping[str, int]
    sources: Mapping[str, int]
    datasets: Mapping[str, int]
    question_words: Lengths
    answer_words: Lengths
    top_words: tuple[tuple[str, int], ...]
    answer_positions: Mapping[int, Mapping[str, int]]
    yes_no: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"top_words": [list(pair) for pair in self.top_words], "paper": paper()}

    def rows(self) -> list[tuple[str, str, str, str]]:
        """(group, name, this data, the paper's) of a table; "" where the paper states nothing."""
        made = [("", name, f"{getattr(self, name):,}", _published(name)) for name in ("items", "images", "descriptions", "subjects", "turns")]
        made += [("type", *pair, "") for pair in _counts(self.types)]
        made += [("question type", *pair, "") for pair in _counts(self.qtypes)]
        made += [("dimension", *pair, "") for pair in _counts(self.dimensions)]
        for group, here, theirs in (
            ("images by source", self.sources, PAPER_SOURCES),
            ("images by dataset", self.datasets, {name: count for name, (_, count) in PAPER_DATASETS.items()}),
        ):
            names = [*theirs, *(name for name in here if name not in theirs)]
            made += [(group, name, f"{here.get(name, 0):,}", f"{theirs[name]:,}" if name in theirs else "") for name in names]
        for group, lengths in (("words of a question", self.question_words), ("words of an answer", self.answer_words)):
            made += [(group, "median", f"{lengths.median:g}", ""), (group, "mean", f"{lengths.mean:.1f}", ""), (group, "most", f"{lengths.most:,}", "")]
        for size, counts in self.answer_positions.items():
            total = sum(counts.values())
            made += [(f"right one of {size}", letter, f"{count:,} ({count / total:.0%})", "") for letter, count in counts.items()]
        made += [("answers", name, f"{count:,}", "") for name, count in self.yes_no.items()]
        return made + [("frequent words", word, f"{count:,}", "") for word, count in self.top_words]

    def __str__(self) -> str:
        lines, last = [f"{'':22}{'':24}{'here':>16}{'paper':>12}"], ""
        for group, name, here, theirs in self.rows():
            lines.append(f"{group if group != last else '':22}{name:24}{here:>16}{theirs:>12}".rstrip())
            last = group
        return "\n".join(lines)


def paper() -> dict[str, Any]:
    """The paper's own numbers, for `to_json`."""
    return {"counts": dict(PAPER_COUNTS), "sources": dict(PAPER_SOURCES), "datasets": {name: count for name, (_, count) in PAPER_DATASETS.items()}}


def statistics(items: Iterable[Instruction]) -> Statistics:
    """Count. One pass, so items may be a generator."""
    types, qtypes, dimensions, frequent, yes_no = (Counter() for _ in range(5))
    positions: dict[int, Counter[str]] = {}
    origin: dict[str, tuple[str, str]] = {}
    subjects: set[str] = set()
    asked, answered = [], []
    n = 0
    for item in items:
        n += 1
        types[item.type or UNKNOWN] += 1
        qtypes[item.qtype or UNKNOWN] += 1
        dimensions[item.dimension or UNKNOWN] += 1
        subjects.add(item.subject)
        if item.image and item.image not in origin:
            origin[item.image] = _origin(item)
        choice = choice_of(item)
        for number, (question, answer) in enumerate(item.turns):
            said = words(stem(item) if number == 0 else question), words(answer)
            asked.append(len(said[0]))
            answered.append(len(said[1]))
            for text in said:
                frequent.update(word for word in text if word not in STOP_WORDS and len(word) > 1 and not word.isdigit())
            if choice is None and (begins := yes_or_no(answer)):
                yes_no[begins] += 1
        if choice is not None and choice[1]:
            positions.setdefault(len(choice[0]), Counter())[choice[1]] += 1
    return Statistics(
        items=n,
        images=len(origin),
        subjects=len(subjects - {""}),
        turns=len(asked),
        descriptions=types["description"],
        types=_ordered(types),
        qtypes=_ordered(qtypes),
        dimensions=_ordered(dimensions),
        sources=_ordered(Counter(source for source, _ in origin.values())),
        datasets=_ordered(Counter(dataset for _, dataset in origin.values())),
        question_words=Lengths.of(asked),
        answer_words=Lengths.of(answered),
        top_words=tuple(sorted(frequent.items(), key=lambda pair: (-pair[1], pair[0]))[:TOP]),
        answer_positions={size: dict(sorted(counts.items())) for size, counts in sorted(positions.items())},
        yes_no=_ordered(yes_no),
    )


def draw(found: Statistics, path: Path, *, title: str = "") -> Path:
    """Bar charts of the frequent words (as Figure 3), and of items by type, question type and dimension.

    Args:
        path: of the picture; its ending says the kind (.png, .svg, .pdf).

    Raises:
        MissingExtra: matplotlib is not installed.
        BeholderError: there is nothing to draw, or the picture cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", extra="eval", purpose="drawing statistics") from None
    if not found.items:
        raise BeholderError("there is nothing to draw: the data hold no items")
    panels = [("most frequent words", dict(found.top_words)), ("type", found.types), ("question type", found.qtypes), ("dimension", found.dimensions)]
    with matplotlib.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}):
        figure = Figure(figsize=(11, 6.5), layout="constrained")
        grid = figure.add_gridspec(3, 2)
        places = [grid[:, 0], *(grid[row, 1] for row in range(3))]
        for (name, counts), place in zip(panels, places, strict=True):
            axes = figure.add_subplot(place)
            labels = [label if len(label) <= 24 else label[:23] + "…" for label in counts][:TOP]
            values = list(counts.values())[:TOP]
            axes.barh(range(len(values)), values, color="#0072B2")
            axes.set_yticks(range(len(values)), [label.replace("$", r"\$") for label in labels])
            axes.invert_yaxis()
            axes.set_title(name, loc="left", fontsize=10)
            axes.xaxis.set_major_formatter("{x:,.0f}")
            axes.tick_params(axis="y", length=0)
        if title:
            figure.suptitle(title.replace("$", r"\$"))
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:
            raise BeholderError(f"{path} cannot be written ({getattr(error, 'strerror', None) or error}): choose another place") from None
    return path


def _origin(item: Instruction) -> tuple[str, str]:
    """(source, dataset) of an item's image."""
    dataset, source = str(item.more.get("dataset") or ""), str(item.more.get("source") or "")
    name = item.image.replace("\\", "/").rpartition("/")[2]
    known = {_plain(one): one for one in PAPER_DATASETS}
    if not dataset and "_" in name:
        dataset = known.get(_plain(name.partition("_")[0]), "")
    dataset = known.get(_plain(dataset), dataset)
    if not source and dataset in PAPER_DATASETS:
        source = PAPER_DATASETS[dataset][0]
    return source or UNKNOWN, dataset or UNKNOWN


def _plain(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _ordered(counts: Counter[str]) -> dict[str, int]:
    """The most frequent first; "not said" last."""
    return dict(sorted(((name, count) for name, count in counts.items() if count), key=lambda pair: (pair[0] == UNKNOWN, -pair[1], pair[0])))


def _counts(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    return [(name, f"{count:,}") for name, count in counts.items()]


def _published(name: str) -> str:
    if name not in PAPER_COUNTS:
        return ""
    return f"{PAPER_COUNTS[name] // 1000}K" if name in _ROUND else f"{PAPER_COUNTS[name]:,}"
