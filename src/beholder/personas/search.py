"""Search for the profile format of lowest fitness: the genetic algorithm of P-MLLM (arXiv 2604.17233, appendix B), and all 324 formats one by one.

The paper gives neither the kind of crossover nor the rate of mutation nor how the first population is drawn: uniform, 0.1 per gene, and with replacement are our
reading. It draws parents among the non-selected, which is the default here; `parents="all"` lets the kept ones breed, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from beholder.errors import BeholderError
from beholder.personas import templates
from beholder.personas.prompts import PersonaFormat, all_formats

CROSSOVERS = ("uniform", "one-point")
PARENTS = ("non-selected", "all")
CLOSE = 1.02  # "within 2 %" of the optimum
FitnessFunction = Callable[[Sequence[PersonaFormat]], np.ndarray]  # -> MSE [n], lower is better; nan = cannot be measured
COMPONENTS = tuple(field.name for field in fields(PersonaFormat))


@dataclass(frozen=True)
class GeneticConfig:
    """The genetic algorithm.

    Args:
        population: chromosomes per generation.
        generations: rounds of selection, crossover and mutation after the first population.
        elite: of a generation that are kept, those of lowest MSE; the others are replaced by offspring.
        mutation: probability of each gene of an offspring to become another one of its component.
        crossover: "uniform" (each gene from either parent) or "one-point" (the first 1 to 4 genes from one, the others from the other).
        parents: "non-selected" as published, or "all".
        seed: of everything random.

    Raises:
        BeholderError: a value is out of range.
    """

    population: int = 50
    generations: int = 10
    elite: int = 10
    mutation: float = 0.1
    crossover: str = "uniform"
    parents: str = "non-selected"
    seed: int = 0

    def __post_init__(self) -> None:
        least = 2 if self.parents == "non-selected" else 1
        if self.elite < 1:
            raise BeholderError(f"elite = {self.elite}: keep at least 1, else the best format gets lost")
        if self.population < max(self.elite + least, 2):
            raise BeholderError(
                f"population = {self.population} with elite = {self.elite} leaves too few for the rest: make it at least {max(self.elite + least, 2)}"
            )
        if self.generations < 0:
            raise BeholderError(f"generations = {self.generations} is below 0: 0 evaluates the first population only")
        if not 0 <= self.mutation <= 1:
            raise BeholderError(f"mutation = {self.mutation} is no probability: give a number from 0 to 1")
        if self.crossover not in CROSSOVERS:
            raise BeholderError(f"there is no crossover {self.crossover!r}: choose one of {', '.join(CROSSOVERS)}")
        if self.parents not in PARENTS:
            raise BeholderError(f"parents cannot be drawn from {self.parents!r}: choose one of {', '.join(PARENTS)}")
        if self.seed < 0:
            raise BeholderError(f"seed = {self.seed} is below 0: give 0 or more")


@dataclass(frozen=True)
class Generation:
    """The state after a generation.

    Args:
        number: 0 = the first population.
        best, mean: lowest and mean MSE of the population; what could not be measured is left out of the mean.
        format: the one of lowest MSE.
        evaluations: different formats evaluated so far.
    """

    number: int
    best: float
    mean: float
    format: PersonaFormat
    evaluations: int


@dataclass(frozen=True)
class Search:
    """What a search found.

    Args:
        config: how it was done.
        history: the first population and every generation.
        fitness: MSE of every format evaluated, in the order of evaluation.
    """

    config: GeneticConfig
    history: tuple[Generation, ...]
    fitness: dict[PersonaFormat, float]

    @property
    def best(self) -> PersonaFormat:
        return self.history[-1].format

    @property
    def mse(self) -> float:
        """Of the best format."""
        return self.history[-1].best

    def close(self, optimum: float) -> bool:
        """Whether the best format is as good as the optimum, or within 2 % of it."""
        return bool(self.mse <= CLOSE * optimum)


@dataclass(frozen=True)
class Optimum:
    """What all formats together say.

    Args:
        mse: the lowest of all formats.
        n_close: formats within 2 % of it, itself included. If these are many, coming close says little about a search.
        n: formats that could be measured.
    """

    mse: float
    n_close: int
    n: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Optimum | None:
        """Of the MSE of all formats; None if none could be measured."""
        there = [value for value in values if np.isfinite(value)]
        return cls(min(there), sum(value <= CLOSE * min(there) for value in there), len(there)) if there else None

    def __str__(self) -> str:
        return f"within 2 % of the best MSE of all, {self.mse:.3f}: {self.n_close} of {self.n} formats"


def genetic_search(
    fitness: FitnessFunction, *, config: GeneticConfig | None = None, progress: Callable[[Generation], None] | None = None
) -> Search:
    """Search as published. The same seed and fitness give the same result, whatever was known before.

    Args:
        fitness: called once per generation with the formats not evaluated before, each asked once in a search.
        progress: called after the first population and after every generation.
    """
    config = config or GeneticConfig()
    rng = np.random.default_rng(config.seed)
    sizes = gene_counts()
    known: dict[PersonaFormat, float] = {}
    history: list[Generation] = []
    population = rng.integers(0, sizes, size=(config.population, len(sizes)))
    for number in range(config.generations + 1):
        if number:
            population = np.concatenate([population[: config.elite], _offspring(population, config=config, sizes=sizes, rng=rng)])
        formats = [PersonaFormat(*(int(gene) for gene in row)) for row in population]
        new = [one for one in dict.fromkeys(formats) if one not in known]
        if new:
            known |= dict(zip(new, (float(value) for value in fitness(new)), strict=True))
        values = np.array([known[one] for one in formats])
        order = np.lexsort((np.arange(len(formats)), np.where(np.isfinite(values), values, np.inf)))
        population = population[order]  # the best first
        measured = values[np.isfinite(values)]
        state = Generation(
            number=number,
            best=float(values[order[0]]),
            mean=float(measured.mean()) if measured.size else float("nan"),
            format=formats[order[0]],
            evaluations=len(known),
        )
        history.append(state)
        if progress:
            progress(state)
    return Search(config, tuple(history), known)


def exhaustive(fitness: FitnessFunction, *, formats: Sequence[PersonaFormat] | None = None) -> dict[PersonaFormat, float]:
    """MSE of all 324 formats (or of those given), the best first; what could not be measured last."""
    formats = list(dict.fromkeys(formats if formats is not None else all_formats()))
    found = dict(zip(formats, (float(value) for value in fitness(formats)), strict=True))
    return dict(sorted(found.items(), key=lambda one: (np.isnan(one[1]), one[1])))


def gene_counts() -> np.ndarray:
    """How many genes each component has, [5]."""
    return np.array([len(templates()["genes"][name]) for name in COMPONENTS])


def _offspring(population: np.ndarray, *, config: GeneticConfig, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Children [population - elite, 5] of a population [population, 5] sorted by fitness, the best first."""
    pool = population[config.elite :] if config.parents == "non-selected" else population
    n, length = len(population) - config.elite, len(sizes)
    pairs = np.stack([rng.choice(len(pool), size=2, replace=False) for _ in range(n)])
    if config.crossover == "uniform":
        second = rng.random((n, length)) < 0.5
    else:
        second = np.arange(length) >= rng.integers(1, length, size=(n, 1))
    children = np.where(second, pool[pairs[:, 1]], pool[pairs[:, 0]])
    # a step of 1 to size - 1 leads to each other gene with the same probability
    steps = rng.integers(1, sizes, size=(n, length))
    return np.where(rng.random((n, length)) < config.mutation, (children + steps) % sizes, children)
