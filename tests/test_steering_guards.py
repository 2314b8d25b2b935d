"""Which prompts are worth an image."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from beholder.steering.guards import likeness, sort_out

LONG = " ".join(f"word{number}" for number in range(50))


def sorted_out(*prompts, seen=(), max_words=77, near_duplicate=0.9):
    return sort_out(prompts, seen=seen, max_words=max_words, near_duplicate=near_duplicate)


def test_each_reason_is_given():
    accepted, rejected = sorted_out("A  cat,\n at night ", "a cat at NIGHT!", " \t", "—!?", "one two three four five six", "a dog", seen=["A dog."], max_words=5)
    assert accepted == ["A cat, at night"]
    assert rejected == [
        ("a cat at NIGHT!", "duplicate"),
        (" \t", "empty"),
        ("—!?", "empty"),
        ("one two three four five six", "too long"),
        ("a dog", "duplicate"),
    ]


def test_the_word_limit_is_itself_allowed():
    assert sorted_out("a b c", max_words=3)[0] == ["a b c"]
    assert sorted_out("a b c d", max_words=3)[0] == []


def test_near_duplicates_by_word_pairs():
    assert likeness("a red cat", "A red cat!") == 1.0
    assert likeness("a b c d", "a b x d") == 3 / 7  # (start, a), (a, b), (d, end) of 5 + 5 - 3
    changed = LONG.replace("word25", "other")
    assert abs(likeness(LONG, changed) - 49 / 53) < 1e-12
    assert sorted_out(changed, seen=[LONG]) == ([], [(changed, "near duplicate")])
    assert sorted_out(changed, seen=[LONG], near_duplicate=0.93)[0] == [changed]
    assert sorted_out(changed, seen=[LONG], near_duplicate=1.0)[0] == [changed]


def test_the_order_of_words_makes_another_prompt():
    assert len(sorted_out("a red cat on a blue mat", "a blue cat on a red mat")[0]) == 2
    assert len(sorted_out("赤い猫", "青い猫")[0]) == 2


@given(
    st.lists(st.text("ab c,.D", max_size=12), max_size=12),
    st.lists(st.text("ab c", min_size=1, max_size=12), max_size=6),
    st.sampled_from([0.3, 0.5, 0.9, 1.0]),
)
def test_as_if_every_prompt_were_compared_with_every_other(prompts, seen, threshold):
    accepted, rejected = sorted_out(*prompts, seen=seen, near_duplicate=threshold)
    assert len(accepted) + len(rejected) == len(prompts)
    kept, expected = list(seen), []
    for prompt in (" ".join(prompt.split()) for prompt in prompts):
        if any(character.isalnum() for character in prompt) and all(likeness(prompt, other) < threshold for other in kept):
            kept.append(prompt)
            expected.append(prompt)
    assert accepted == expected
