"""Raters and what they said, kept in SQLite."""

import os
import sqlite3
import threading

import pytest

import beholder
from beholder import store_migrations
from beholder.errors import BeholderError
from beholder.store import FILE, Store


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path) as store:
        yield store


def test_everything_comes_back(store, tmp_path):
    profile = beholder.Profile(age="25-34", openness=8, nationality="Perú", free={"camera": "X100", "years": 3})
    assert store.add("  Ana   María ", profile=profile) == "Ana María"
    ratings = beholder.Ratings([beholder.Rating("b.jpg", 5, 20.0), beholder.Rating("a.jpg", 3.5, 10.0)], scale=beholder.Scale(1, 7, 0.5))
    assert store.add_ratings("ana maría", ratings) == 2
    assert store.add_choices("Ana María", beholder.Choices((("a.jpg", "b.jpg"), ("a.jpg", "b.jpg")))) == 2
    with Store(tmp_path) as again:
        rater = again.get("ANA MARÍA")
    assert rater.name == "Ana María" and rater.profile == profile
    assert rater.scale == beholder.Scale(1, 7, 0.5)
    assert list(rater.ratings) == [beholder.Rating("a.jpg", 3.5, 10.0), beholder.Rating("b.jpg", 5.0, 20.0)]
    assert [(c.chosen, c.other) for c in rater.choices] == [("a.jpg", "b.jpg")] * 2


def test_the_latest_rating_counts_and_none_is_lost(store):
    store.add("me")
    store.add_ratings("me", beholder.Ratings([("a", 1), ("b", 2)]))
    assert store.add_ratings("me", beholder.Ratings([("a", 5), ("b", 2)])) == 1  # b says nothing new
    assert store.add_ratings("me", beholder.Ratings([beholder.Rating("a", 3, 10.0)])) == 1  # made long ago
    assert {r.image: r.score for r in store.get("me").ratings} == {"a": 5, "b": 2}
    assert store._all("SELECT COUNT(*) FROM ratings") == [(4,)]
    (entry,) = store.entries()
    assert (entry.n_ratings, entry.n_choices) == (2, 0)


def test_another_scale_is_converted(store):
    store.add("me")
    store.add_ratings("me", beholder.Ratings({"a": 5}, scale=beholder.Scale(1, 5)))
    store.add_ratings("me", beholder.Ratings({"b": 50}, scale=beholder.Scale(0, 100, 0)))
    rater = store.get("me")
    assert rater.scale == beholder.Scale(1, 5) and {r.image: r.score for r in rater.ratings} == {"a": 5, "b": 3}


def test_names(store):
    store.add("Anna")
    for same in ("Anna", " anna", "ANNA "):
        with pytest.raises(BeholderError, match="already a rater 'Anna'"):
            store.add(same)
    store.add("Bob")
    with pytest.raises(BeholderError, match="already a rater 'Anna'"):
        store.rename("bob", to="anna")
    assert store.rename("anna", to="ANNA") == "ANNA" and store.names() == ["ANNA", "Bob"]
    with pytest.raises(BeholderError, match=r"no rater 'Bobb': did you mean Bob\?"):
        store.get("Bobb")
    for bad in ("", "  ", "a\x00b"):
        with pytest.raises(BeholderError, match="not a name"):
            store.add(bad)
    assert "bob" in store and "carl" not in store


def test_profile_and_delete(store):
    store.add("me", profile=beholder.Profile(age=3))
    store.set_profile("me", beholder.Profile(gender="male"))
    assert store.get("me").profile == beholder.Profile(gender="male")
    store.add_ratings("me", beholder.Ratings({"a": 5}))
    store.delete("Me")
    assert not store.entries() and store._all("SELECT COUNT(*) FROM ratings") == [(0,)]


def test_file_names_that_are_not_utf8(store):
    odd = os.fsdecode(b"/photos/caf\xe9.jpg")
    store.add("me")
    store.add_ratings("me", beholder.Ratings({odd: 4, "🌲.jpg": 2}))
    assert store.get("me").ratings.images == [odd, "🌲.jpg"]


def test_migrations_go_on_from_where_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(store_migrations, "MIGRATIONS", store_migrations.MIGRATIONS[:1])
    db = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    store_migrations.migrate(db)
    db.execute("INSERT INTO raters (name, key, profile, created) VALUES ('Old', 'old', '{}', 0)")
    db.close()
    monkeypatch.undo()
    with Store(tmp_path) as store:
        store.add_ratings("old", beholder.Ratings({"a": 4}))
        assert len(store.get("Old").ratings) == 1
        store._db.execute("INSERT INTO migrations VALUES ('m999_future', 0)")
    with pytest.raises(BeholderError, match=r"newer beholder .*m999_future"):
        Store(tmp_path)


def test_two_at_once(tmp_path):
    """Several connections make a new file and write at the same time; the tables are made only once, and nobody finds it locked."""
    failures = []
    together = threading.Barrier(6)

    def work(folder, number):
        together.wait()
        try:
            with Store(folder) as store:
                store.add(f"rater {number}")
                for i in range(5):
                    store.add_ratings(f"rater {number}", beholder.Ratings({f"{i}": 3}))
        except Exception as error:
            failures.append(error)

    for attempt in range(20):  # the moment in which two change the mode of a new file is short
        folder = tmp_path / f"{attempt}"
        threads = [threading.Thread(target=work, args=(folder, number)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        with Store(folder) as store:
            assert [entry.n_ratings for entry in store.entries()] == [5] * 6


def test_files_that_cannot_be_used(tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / FILE).write_bytes(b"this is no database " * 200)
    with pytest.raises(BeholderError, match="damaged"):
        Store(tmp_path / "bad")
    (tmp_path / "file").write_text("")
    with pytest.raises(BeholderError, match=r"cannot be opened .*BEHOLDER_HOME"):
        Store(tmp_path / "file" / "below")


def test_a_failed_change_changes_nothing(store):
    store.add("me")
    with pytest.raises(RuntimeError), store._writing() as db:
        db.execute("DELETE FROM raters")
        raise RuntimeError
    assert store.names() == ["me"]
