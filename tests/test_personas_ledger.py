"""The ledger of answers: nothing is asked twice, an interruption loses one chunk at most, and a broken file stops nobody."""

import os
import sqlite3
import stat
import threading
import warnings

import numpy as np
import pytest

from beholder.paths import cache_dir
from beholder.personas.inventory import load_inventory
from beholder.personas.ledger import FILE, Counts, Ledger, LedgerWarning, answered

INVENTORY = load_inventory()
N = len(INVENTORY.items)


class Counting:
    """Answers persona "k" with 1 + k % 5 throughout; `stop_at` is interrupted."""

    name, version, unit, counts = "counting", "1", "item answers", Counts()

    def __init__(self, *, stop_at=None, version="1"):
        self.asked, self.calls, self.stop_at, self.version = [], [], stop_at, version

    def answers(self, personas, inventory, *, progress=None):
        self.calls.append(len(personas))
        rows = []
        for text in personas:
            if text == self.stop_at:
                raise KeyboardInterrupt
            self.asked.append(text)
            rows.append(np.full(len(inventory.items), 1.0 + int(text) % 5))
            if progress:
                progress(len(rows), len(personas))
        return np.array(rows)


def texts(n):
    return [str(k) for k in range(n)]


def test_answers_come_in_order_and_are_asked_once(tmp_path):
    respondent, ledger = Counting(), Ledger(tmp_path)
    first = answered(respondent, INVENTORY, ["3", "1", "3"], ledger=ledger)
    assert first[:, 0].tolist() == [4, 2, 4] and first.shape == (3, N)
    second = answered(respondent, INVENTORY, ["1", "2", "3"], ledger=ledger)
    assert second[:, 0].tolist() == [2, 3, 4]
    assert respondent.asked == ["3", "1", "2"]


def test_they_are_on_disk_for_the_next_process(tmp_path):
    answered(Counting(), INVENTORY, texts(4), ledger=Ledger(tmp_path))
    later = Counting()
    assert answered(later, INVENTORY, texts(4), ledger=Ledger(tmp_path))[:, 0].tolist() == [1, 2, 3, 4]
    assert later.asked == []


def test_another_version_or_inventory_is_asked_anew(tmp_path):
    ledger = Ledger(tmp_path)
    answered(Counting(), INVENTORY, texts(2), ledger=ledger)
    other = Counting(version="2")
    answered(other, INVENTORY, texts(2), ledger=ledger)
    longer = Counting()
    assert answered(longer, load_inventory("ipip-50"), texts(2), ledger=ledger).shape == (2, 50)
    assert other.asked == longer.asked == texts(2)


def test_an_interruption_loses_the_chunk_it_falls_in(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        answered(Counting(stop_at="7"), INVENTORY, texts(12), ledger=Ledger(tmp_path), chunk=3)
    later = Counting()
    found = answered(later, INVENTORY, texts(12), ledger=Ledger(tmp_path), chunk=3)
    assert later.asked == texts(12)[6:]
    np.testing.assert_array_equal(found, answered(Counting(), INVENTORY, texts(12), ledger=Ledger(tmp_path / "whole")))


def test_missing_answers_are_kept_as_missing(tmp_path):
    class Silent(Counting):
        def answers(self, personas, inventory, *, progress=None):
            answers = super().answers(personas, inventory)
            answers[:, 2] = np.nan
            return answers

    answered(Silent(), INVENTORY, texts(3), ledger=Ledger(tmp_path))
    later = Counting()
    found = answered(later, INVENTORY, texts(3), ledger=Ledger(tmp_path))
    assert later.asked == [] and np.isnan(found[:, 2]).all() and np.isfinite(np.delete(found, 2, axis=1)).all()


def test_progress_counts_item_answers_known_ones_included(tmp_path):
    ledger, seen = Ledger(tmp_path), []
    answered(Counting(), INVENTORY, texts(2), ledger=ledger)
    answered(Counting(), INVENTORY, texts(6), ledger=ledger, chunk=3, progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (2 * N, 6 * N) and seen[-1] == (6 * N, 6 * N)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and (3 * N, 6 * N) in seen


def test_nobody_and_odd_texts_are_personas_too(tmp_path):
    class Any(Counting):
        def answers(self, personas, inventory, *, progress=None):
            return np.array([np.full(N, 1.0 + len(text) % 5) for text in personas])

    odd = ["", "Grüße \ud800\u0000 'x'", "a" * 10_000]
    ledger = Ledger(tmp_path)
    first = answered(Any(), INVENTORY, odd, ledger=ledger)
    np.testing.assert_array_equal(answered(Counting(), INVENTORY, odd, ledger=Ledger(tmp_path)), first)
    assert answered(Any(), INVENTORY, [], ledger=ledger).shape == (0, N)


def test_the_persona_itself_is_not_in_the_file(tmp_path):
    answered(Counting(), INVENTORY, ["424242424242"], ledger=Ledger(tmp_path))
    assert all(b"424242424242" not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [np.ones((1, N - 1)), np.ones((2, N)), np.full((1, N), 6.0), np.full((1, N), 0.0)])
def test_answers_of_the_wrong_form_are_not_kept(tmp_path, wrong):
    class Wrong(Counting):
        def answers(self, personas, inventory, *, progress=None):
            return wrong

    with pytest.raises(ValueError, match="numbers from 1 to 5"):
        answered(Wrong(), INVENTORY, ["0"], ledger=Ledger(tmp_path))
    assert Ledger(tmp_path).known("1", INVENTORY, ["0"]) == {}


def test_a_damaged_file_is_put_aside_and_begun_anew(tmp_path):
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.warns(LedgerWarning, match="damaged"):
        answered(Counting(), INVENTORY, texts(2), ledger=Ledger(tmp_path))
    assert (tmp_path / FILE).with_suffix(".damaged").read_bytes().startswith(b"this is no")
    later = Counting()
    answered(later, INVENTORY, texts(2), ledger=Ledger(tmp_path))
    assert later.asked == []


def test_a_place_that_cannot_be_written_is_said_once_and_memory_goes_on(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ledger, respondent = Ledger(tmp_path / "file"), Counting()
        for _ in range(2):
            assert answered(respondent, INVENTORY, texts(3), ledger=ledger)[:, 0].tolist() == [1, 2, 3]
    assert [str(one.message) for one in said if one.category is LedgerWarning and "BEHOLDER_CACHE" in str(one.message)] and len(said) == 1
    assert respondent.asked == texts(3)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the permissions of a file do not bind here")
def test_a_read_only_file_is_said_once(tmp_path):
    Ledger(tmp_path)
    (tmp_path / FILE).chmod(stat.S_IRUSR)
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.warns(LedgerWarning, match="cannot be kept"):
            assert answered(Counting(), INVENTORY, texts(2), ledger=Ledger(tmp_path)).shape == (2, N)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_file_that_breaks_in_between_is_said_once_and_memory_goes_on(tmp_path):
    ledger = Ledger(tmp_path)
    answered(Counting(), INVENTORY, texts(2), ledger=ledger)
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("DROP TABLE answers")
    respondent = Counting()
    with pytest.warns(LedgerWarning, match="cannot be kept") as said:
        assert answered(respondent, INVENTORY, texts(4), ledger=ledger, chunk=1)[:, 0].tolist() == [1, 2, 3, 4]
    assert len(said) == 1
    answered(respondent, INVENTORY, texts(4), ledger=ledger)
    assert respondent.asked == texts(4)


def test_several_threads_may_keep_at_once(tmp_path):
    ledgers = [Ledger(tmp_path) for _ in range(2)]
    failed = []

    def work(start):
        try:
            answered(Counting(), INVENTORY, texts(60)[start::2], ledger=ledgers[start], chunk=1)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(Ledger(tmp_path).known("1", INVENTORY, texts(60))) == 60


def test_the_folder_is_that_of_the_cache():
    assert Ledger().file == cache_dir("personas") / FILE


def test_counts_read_well():
    assert str(Counts(asked=40)) == "40 answers asked for"
    assert str(Counts(asked=40, retried=3, refused=2, missing=1)) == "40 answers asked for, 3 asked once more, 2 refused, 1 missing"
