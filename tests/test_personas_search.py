"""The search over profile formats on fitness that is known: what it finds, how often, and that an interruption costs nothing."""

import functools
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from beholder.errors import BeholderError
from beholder.personas.fitness import Controls, Fitness, evaluation, read_targets, target_profiles, traits
from beholder.personas.inventory import load_inventory
from beholder.personas.ledger import Ledger
from beholder.personas.prompts import PersonaFormat, all_formats, render
from beholder.personas.search import COMPONENTS, GeneticConfig, Optimum, exhaustive, gene_counts, genetic_search
from beholder.personas.search_report import gene_effects
from beholder.profile import BIG_FIVE, Profile
from command_line import HERE
from planted_respondents import BEST, Planted, gain, read_persona

FORMATS = all_formats()
INVENTORY = load_inventory()
TARGETS = target_profiles(4)
WORLDS = range(6)
HEADER = ",".join(BIG_FIVE)


@functools.cache
def landscape(kind, seed):
    """Format -> MSE around 8: sums of gene effects; "interacting" adds an effect half as large for every pair of genes."""
    rng, sizes = np.random.default_rng(seed), gene_counts()
    single = [rng.normal(0, 0.5, n) for n in sizes]
    pairs = {(i, j): rng.normal(0, 0.25, (sizes[i], sizes[j])) for i, j in itertools.combinations(range(5), 2)}

    def value(one):
        genes = [getattr(one, name) for name in COMPONENTS]
        together = sum(effect[genes[i], genes[j]] for (i, j), effect in pairs.items()) if kind == "interacting" else 0
        return 8 + sum(effect[gene] for effect, gene in zip(single, genes, strict=True)) + together

    return {one: value(one) for one in FORMATS}


class Asked:
    """A fitness function that remembers what it was asked."""

    def __init__(self, values):
        self.values, self.batches = values, []

    def __call__(self, formats):
        self.batches.append(list(formats))
        return np.array([self.values[one] for one in formats])

    @property
    def all(self):
        return [one for batch in self.batches for one in batch]


def close(kind, seed, **changes):
    """In how many of ten seeds a search is within 2 % of the optimum."""
    values = landscape(kind, seed)
    return sum(genetic_search(Asked(values), config=GeneticConfig(seed=s, **changes)).close(min(values.values())) for s in range(10))


@pytest.mark.parametrize("crossover", ["uniform", "one-point"])
@pytest.mark.parametrize("kind", ["additive", "interacting"])
def test_with_parents_from_all_nine_of_ten_searches_come_within_two_percent(kind, crossover):
    found = [close(kind, world, parents="all", crossover=crossover) for world in WORLDS]
    assert sum(found) >= 9 * len(WORLDS) and min(found) >= (9 if kind == "additive" else 7), found


@pytest.mark.parametrize("kind", ["additive", "interacting"])
def test_parents_as_published_find_less_than_drawing_at_random(kind):
    """The paper's rule takes the kept formats out of the breeding, so that good genes get rarer among what is bred."""
    rng = np.random.default_rng(0)
    at_random = 0
    for world in WORLDS:
        values = landscape(kind, world)
        close_ones = [values[one] <= 1.02 * min(values.values()) for one in FORMATS]
        at_random += sum(any(close_ones[k] for k in rng.integers(0, 324, 450)) for _ in range(10))  # as many as the search draws
    assert sum(close(kind, world) for world in WORLDS) < at_random


@pytest.mark.parametrize("parents", ["non-selected", "all"])
def test_the_best_never_gets_worse_and_no_format_is_asked_twice(parents):
    for seed in range(5):
        fitness = Asked(landscape("interacting", seed))
        found = genetic_search(fitness, config=GeneticConfig(seed=seed, parents=parents))
        bests = [state.best for state in found.history]
        assert bests == sorted(bests, reverse=True) and len(bests) == 11
        assert len(set(fitness.all)) == len(fitness.all) == len(found.fitness) == found.history[-1].evaluations
        assert found.mse == min(found.fitness.values()) == found.fitness[found.best]


def test_a_generation_keeps_ten_and_makes_forty():
    """With mutation 1, no gene of a child comes from a parent; with a fitness of one value, nothing else is selected than the first ten."""
    sizes = GeneticConfig(population=50, elite=10, generations=1, mutation=1.0)
    fitness = Asked(dict.fromkeys(FORMATS, 5.0))
    found = genetic_search(fitness, config=sizes)
    assert len(found.history) == 2 and len(fitness.batches[0]) <= 50 and len(fitness.batches[1]) <= 40
    assert all(0 <= getattr(one, name) < n for one in found.fitness for name, n in zip(COMPONENTS, gene_counts(), strict=True))


def test_children_have_genes_of_their_parents_only_unless_they_mutate():
    """The mean of a generation is that of its 50 members: ten kept, forty whose genes were in the pool."""
    for crossover, parents in itertools.product(["uniform", "one-point"], ["non-selected", "all"]):
        values = landscape("additive", 1)
        config = GeneticConfig(mutation=0.0, generations=6, crossover=crossover, parents=parents, seed=3, population=12, elite=3)
        fitness = Asked(values)
        genetic_search(fitness, config=config)
        there = [{getattr(one, name) for one in fitness.batches[0]} for name in COMPONENTS]
        later = [one for batch in fitness.batches[1:] for one in batch]
        assert later and all(getattr(one, name) in genes for one in later for name, genes in zip(COMPONENTS, there, strict=True))


def test_parents_among_the_non_selected_exclude_the_kept_ones():
    """One good gene that only the kept format has can then only come back by mutation."""
    values = {one: 1.0 if one.traits == 2 else 5.0 for one in FORMATS}
    carriers = {"non-selected": 0, "all": 0}
    for parents, seed in itertools.product(carriers, range(20)):
        fitness = Asked(values)
        config = GeneticConfig(population=6, elite=4, generations=8, mutation=0.0, parents=parents, seed=seed)
        found = genetic_search(fitness, config=config)
        first = [one.traits for one in fitness.batches[0]].count(2)
        if 1 <= first <= 4:
            carriers[parents] += sum(one.traits == 2 for one in found.fitness) - first
    assert carriers["non-selected"] == 0 < carriers["all"]


def test_one_point_crossover_keeps_neighbours_together():
    """Two parents 0000x and 1111x without mutation: a child changes from one to the other at most once."""
    import beholder.personas.search as module

    population = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
    changes = {}
    for crossover in ("one-point", "uniform"):
        config = GeneticConfig(population=3, elite=1, mutation=0.0, crossover=crossover)
        rng = np.random.default_rng(0)
        children = np.concatenate([module._offspring(population, config=config, sizes=gene_counts(), rng=rng) for _ in range(200)])
        assert len(children) == 400
        changes[crossover] = np.abs(np.diff(children, axis=1)).sum(axis=1)
    assert set(changes["one-point"]) == {1}  # 1 to 4 genes from the first
    assert changes["uniform"].max() > 1


def test_mutation_makes_another_gene_each_as_often():
    import beholder.personas.search as module

    population = np.zeros((1202, 5), dtype=int)
    config = GeneticConfig(population=1202, elite=2, mutation=0.3)
    children = module._offspring(population, config=config, sizes=gene_counts(), rng=np.random.default_rng(0))
    for column, n in zip(children.T, gene_counts(), strict=True):
        shares = np.bincount(column, minlength=n) / len(column)
        assert len(shares) == n and abs(shares[0] - 0.7) < 0.05
        np.testing.assert_allclose(shares[1:], 0.3 / (n - 1), atol=0.04)


def test_the_seed_decides_everything():
    values = landscape("interacting", 0)
    one, same, other = (genetic_search(Asked(values), config=GeneticConfig(seed=seed)) for seed in (3, 3, 4))
    assert one == same and one.fitness != other.fitness


def test_what_cannot_be_measured_is_never_the_best():
    values = landscape("additive", 0)
    best = min(values, key=values.get)
    broken = values | {one: float("nan") for one in FORMATS if one.header == best.header}
    found = genetic_search(Asked(broken), config=GeneticConfig(parents="all"))
    assert np.isfinite(found.mse) and found.best.header != best.header and all(np.isfinite(state.mean) for state in found.history)
    table = exhaustive(Asked(broken))
    assert np.isnan(list(table.values())[-108:]).all() and np.isfinite(list(table.values())[:216]).all()
    nothing = genetic_search(Asked(dict.fromkeys(FORMATS, float("nan"))), config=GeneticConfig(generations=1))
    assert np.isnan(nothing.mse) and not nothing.close(5.0)


def test_exhaustive_is_the_sorted_table_of_all():
    values = landscape("interacting", 5)
    fitness = Asked(values)
    table = exhaustive(fitness)
    assert table == values and len(table) == 324 and len(fitness.all) == 324
    assert list(table.values()) == sorted(values.values())
    assert list(exhaustive(Asked(values), formats=FORMATS[5:8])) == sorted(FORMATS[5:8], key=values.get)


def test_the_optimum_says_how_many_formats_are_as_good():
    assert Optimum.of([1.0, 1.02, 1.021, 3.0, float("nan")]) == Optimum(mse=1.0, n_close=2, n=4)
    assert Optimum.of([float("nan")]) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"population": 10}, "at least 12"),
        ({"population": 1, "elite": 1, "parents": "all"}, "at least 2"),
        ({"elite": 0}, "at least 1"),
        ({"generations": -1}, "below 0"),
        ({"mutation": 1.5}, "0 to 1"),
        ({"mutation": float("nan")}, "0 to 1"),
        ({"crossover": "two-point"}, "uniform, one-point"),
        ({"parents": "elite"}, "non-selected, all"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, says):
    with pytest.raises(BeholderError, match=says):
        GeneticConfig(**changes)


def test_target_profiles_spread_every_trait_over_its_range():
    values = traits(target_profiles(10))
    assert np.array_equal(np.sort(values, axis=0), np.tile(np.arange(1, 11)[:, None], 5))
    assert np.abs(np.corrcoef(values.T) - np.eye(5)).max() < 0.5
    assert target_profiles(10, seed=1) == target_profiles(10, seed=1) != target_profiles(10)
    for n in (1, 2, 3, 7, 20, 33):
        values = traits(target_profiles(n))
        assert values.shape == (n, 5) and values.min() >= 1 and values.max() <= 10
        edges = np.sort(np.floor((values - 1) * n / 10), axis=0) if n <= 10 else None
        assert edges is None or all(len(set(column)) == n for column in values.T)
    with pytest.raises(BeholderError, match="at least 1"):
        target_profiles(0)


def write_targets(path, rows, header=HEADER):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_targets_from_a_file(tmp_path):
    header = "age;Neuroticism;openness;conscientiousness;agreeableness;extraversion"
    found = read_targets(write_targets(tmp_path / "t.csv", ["30;1;2;3.5;4;5"], header))
    assert found == (Profile(openness=2, conscientiousness=3.5, extraversion=5, agreeableness=4, neuroticism=1),)


@pytest.mark.parametrize(
    ("rows", "header", "says"),
    [
        (["1,2,3,4,5", "1,2,11,4,5"], HEADER, "line 3: extraversion = '11' is not a number from 1 to 10"),
        (["0,2,3,4,5"], HEADER, "line 2: openness = '0'"),
        (["1,2,3,4,"], HEADER, "neuroticism = ''"),
        (["1,2,3,4,nan"], HEADER, "neuroticism = 'nan'"),
        (["high,2,3,4,5"], HEADER, "openness = 'high'"),
        (["1,2,3,4"], "openness,conscientiousness,extraversion,agreeableness", "no column neuroticism"),
        ([], HEADER, "has no rows"),
    ],
)
def test_targets_that_are_none_are_refused(tmp_path, rows, header, says):
    with pytest.raises(BeholderError, match=says):
        read_targets(write_targets(tmp_path / "t.csv", rows, header))


def test_targets_need_all_traits(tmp_path):
    with pytest.raises(BeholderError, match="need all of openness"):
        Fitness(Planted(), INVENTORY, targets=[Profile(openness=3)], ledger=Ledger(tmp_path))


def test_an_evaluation_of_known_answers():
    targets = np.array([[1.0, 5, 1, 2, 3], [10, 5, 1, 4, 3]])
    measured = np.array([[2.0, 4, np.nan, 4, 3], [10, 6, 3, 2, 3]])
    found = evaluation(FORMATS[0], targets=targets, measured=measured, missing=4)
    assert found.trait_mse == (0.5, 1.0, 12.125, 4.0, 0.0)
    assert found.mse == pytest.approx((1 + 0 + 1 + 1 + 4.5**2 + 4 + 4 + 4 + 0 + 0) / 10)  # each score counts as much, what is missing as 5.5
    assert (found.missing, found.unmeasured) == (4, 1)
    assert found.r == pytest.approx((1 - 1) / 2)  # three traits have no r: their targets do not vary
    swapped = [(10 - 2) ** 2, (1 - 10) ** 2, 1, 1, 4, 4.5**2, 0, 0, 0, 0]
    assert found.shuffled_mse == pytest.approx(np.mean(swapped))
    flat = evaluation(FORMATS[0], targets=np.arange(10.0).reshape(2, 5), measured=np.full((2, 5), 3.0))
    assert flat.r == 0.0 and flat.shuffled_mse == pytest.approx(flat.mse)
    nothing = evaluation(FORMATS[0], targets=targets, measured=np.full((2, 5), np.nan))
    assert np.isnan(nothing.mse) and nothing.unmeasured == 10


def test_controls_are_what_constant_answers_get():
    controls = Controls.of(target_profiles(10))
    assert controls.middle == controls.best_constant == pytest.approx(8.25)
    skewed = Controls.of([Profile(**dict.fromkeys(BIG_FIVE, value)) for value in (1, 3)])
    assert (skewed.middle, skewed.best_constant) == (pytest.approx((4.5**2 + 2.5**2) / 2), 1.0)


def test_planted_personas_are_read_as_they_were_written():
    assert all(read_persona(render(TARGETS[0], style=one))[0] == one for one in FORMATS)
    assert max(FORMATS, key=gain).code == BEST


def test_the_fitness_of_a_planted_respondent_is_the_known_one(tmp_path):
    fitness = Fitness(Planted(), INVENTORY, targets=target_profiles(10), ledger=Ledger(tmp_path))
    chosen = FORMATS[::40]
    np.testing.assert_allclose(fitness(chosen), [8.25 * (1 - gain(one)) ** 2 for one in chosen])
    best = fitness.evaluate([PersonaFormat.parse(BEST)])[0]
    assert best.r == pytest.approx(1.0) and best.shuffled_mse > 8.25 > best.mse


def test_missing_answers_are_counted_and_make_no_format_better(tmp_path):
    of_openness = tuple(place for place, item in enumerate(INVENTORY.items) if item.trait == "openness")
    refusing = Fitness(Planted(missing=of_openness), INVENTORY, targets=TARGETS, ledger=Ledger(tmp_path / "some"))
    best = PersonaFormat.parse(BEST)
    found = refusing.evaluate([best])[0]
    middle = np.mean([(profile.openness - 5.5) ** 2 for profile in TARGETS])
    assert found.trait_mse[0] == pytest.approx(middle) and found.missing == len(of_openness) * len(TARGETS) and found.unmeasured == len(TARGETS)
    assert found.mse == pytest.approx(np.mean(found.trait_mse))
    answering = Fitness(Planted(), INVENTORY, targets=TARGETS, ledger=Ledger(tmp_path / "all"))
    assert found.mse > answering.evaluate([best])[0].mse


def test_gene_effects_find_the_planted_ones():
    values = landscape("additive", 2)
    targets = np.zeros((1, 5))
    evaluations = [evaluation(one, targets=targets, measured=np.full((1, 5), np.sqrt(value))) for one, value in values.items()]
    found = gene_effects(evaluations)
    assert [(one.component, one.gene) for one in found] == [(name, k) for name, n in zip(COMPONENTS, gene_counts(), strict=True) for k in range(n)]
    for one in found:
        among = [value for each, value in values.items() if getattr(each, one.component) == one.gene]
        assert one.mean == pytest.approx(np.mean(among)) and one.effect == pytest.approx(np.mean(among) - np.mean(list(values.values())))
        assert one.high - one.low < 1e-6  # nothing interacts: the same everywhere
    gone = gene_effects([one for one in evaluations if one.format.code != "00000"])
    assert gone[0].n == 107 and gone[0].effect == pytest.approx(found[0].effect)


def fitness_of(folder, **options):
    respondent = Planted(**options)
    return respondent, Fitness(respondent, INVENTORY, targets=TARGETS, ledger=Ledger(folder), chunk=10)


def test_an_interrupted_search_goes_on_to_the_same_result(tmp_path):
    config = GeneticConfig(population=20, elite=4, generations=4, seed=2)
    _, whole = fitness_of(tmp_path / "whole")
    expected = genetic_search(whole, config=config)
    first, fitness = fitness_of(tmp_path / "cut", stop_after=93)
    with pytest.raises(KeyboardInterrupt):
        genetic_search(fitness, config=config)
    second, fitness = fitness_of(tmp_path / "cut")
    assert genetic_search(fitness, config=config) == expected
    kept = [text for text in first.asked if text not in second.asked]
    assert len(kept) >= 80 and not set(kept) & set(second.asked)
    assert len(kept) + len(second.asked) == len(TARGETS) * len(expected.fitness)


def test_what_is_known_is_found_without_asking(tmp_path):
    respondent, fitness = fitness_of(tmp_path)
    fitness(FORMATS[:3])
    later, again = fitness_of(tmp_path)
    assert [one.format for one in again.known(FORMATS[1:6])] == list(FORMATS[1:3]) and later.asked == []
    assert again.known(FORMATS[1:2]) == fitness.evaluate(FORMATS[1:2]) and again.known(FORMATS[10:12]) == []
    assert len(respondent.asked) == 12


SEARCH = """
import sys
from beholder.personas.fitness import Fitness, target_profiles
from beholder.personas.inventory import load_inventory
from beholder.personas.ledger import Ledger
from beholder.personas.search import GeneticConfig, genetic_search
from planted_respondents import Planted
respondent = Planted(seconds=float(sys.argv[2]))
fitness = Fitness(respondent, load_inventory(), targets=target_profiles(4), ledger=Ledger(sys.argv[1]), chunk=5)
found = genetic_search(fitness, config=GeneticConfig(population=14, elite=4, generations=3))
print(found.best.code, f"{found.mse:.12f}", len(found.fitness), len(respondent.asked))
"""


def test_a_killed_search_goes_on_where_it_was(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(HERE)}

    def command(seconds):
        return [sys.executable, "-c", SEARCH, str(tmp_path / "ledger"), str(seconds)]

    running = subprocess.Popen(command(0.02), env=environment, stdout=subprocess.PIPE)
    try:
        kept, end = 0, time.monotonic() + 60
        while kept < 20 and time.monotonic() < end:
            time.sleep(0.02)
            kept = number_kept(tmp_path / "ledger")
        assert running.poll() is None, "it ended before it could be killed"
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    kept = number_kept(tmp_path / "ledger")
    assert kept >= 20
    result = subprocess.run(command(0), env=environment, capture_output=True, text=True, timeout=60, check=True)
    code, mse, formats, asked = result.stdout.split()
    _, fitness = fitness_of(tmp_path / "whole")
    expected = genetic_search(fitness, config=GeneticConfig(population=14, elite=4, generations=3))
    assert (code, mse, int(formats)) == (expected.best.code, f"{expected.mse:.12f}", len(expected.fitness))
    assert int(asked) == 4 * len(expected.fitness) - kept


def number_kept(folder):
    import sqlite3
    from contextlib import closing

    try:
        with closing(sqlite3.connect(f"file:{folder}/answers.sqlite?mode=ro", uri=True)) as db:
            return db.execute("SELECT COUNT(*) FROM answers").fetchone()[0]
    except sqlite3.Error:
        return 0
