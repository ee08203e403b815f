from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluate.behaviour.perturb import (
    PLAIN,
    Change,
    add_sentence,
    end_otherwise,
    move_numbers,
    replace_word,
    swap_case,
    swap_letters,
    swap_names,
)
from components.evaluate.behaviour.words import INTENSIFIERS, MEN, NEGATED, NEGATIONS, NEUTRAL, WEIGHED, WOMEN

NEGATE = replace_word(NEGATIONS, not_before=NEGATED)
INTENSIFY = replace_word(INTENSIFIERS, not_after=WEIGHED)
RENAME = swap_names([WOMEN, MEN])
ALL: dict[str, Change] = {
    **PLAIN, "names": RENAME, "neutral": add_sentence(NEUTRAL), "negation": NEGATE, "intensifiers": INTENSIFY
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(text=st.text(), seed=st.integers(0, 9))
def test_any_text_is_changed_or_left_and_the_same_seed_changes_alike(text: str, seed: int) -> None:
    for change in ALL.values():
        changed = change(text, Random(seed))
        assert changed is None or changed != text
        assert changed == change(text, Random(seed))


@settings(max_examples=100, deadline=None)
@given(
    words=st.lists(
        st.sampled_from("it's is \u0130s i\u017f I\u0131 not n't good Very GOOD Jane jane [EMAIL] 12".split())
    )
)
def test_words_that_differ_in_case_in_odd_ways_are_changed_or_left(words: list[str]) -> None:
    text = " ".join(words)
    for name, change in ALL.items():
        changed = change(text, Random(0))
        assert changed is None or changed != text
        if changed is not None and name in ("negation", "intensifiers", "names"):
            assert (changed.count("[EMAIL]"), changed.count("12")) == (words.count("[EMAIL]"), words.count("12"))


def test_a_typo_swaps_two_letters_after_the_first_in_one_word_of_twenty() -> None:
    text = " ".join(f"{'word' if place % 2 else 'letters'}" for place in range(41))
    changed = swap_letters(text, Random(0))
    assert changed is not None
    pairs = [(a, b) for a, b in zip(text.split(), changed.split(), strict=True) if a != b]
    assert len(pairs) == 3
    for before, after in pairs:
        assert Counter(before) == Counter(after)
        assert before[0] == after[0]
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 2


@pytest.mark.parametrize("text", ["", "a bad one", "1234567", "aaaa!", "[EMAIL]", "go on, or no"])
def test_no_typo_without_a_long_word(text: str) -> None:
    assert swap_letters(text, Random(0)) is None


def test_case_is_all_capital_or_all_small_and_leaves_placeholders() -> None:
    forms = {swap_case("Write to [EMAIL] Now", Random(seed)) for seed in range(9)}
    assert forms == {"WRITE TO [EMAIL] NOW", "write to [EMAIL] now"}
    assert swap_case("small", Random(0)) == "SMALL"
    assert swap_case("这本书 123", Random(0)) is None


@pytest.mark.parametrize(
    ("text", "reach"), [("It took 100 days.", (80, 120)), ("1 of them", (2, 2)), ("in 1999, twice", (1600, 2398))]
)
def test_a_number_moves_by_a_fifth_at_most(text: str, reach: tuple[int, int]) -> None:
    for seed in range(20):
        changed = move_numbers(text, Random(seed))
        assert changed is not None
        (number,) = (int("".join(filter(str.isdigit, word))) for word in changed.split() if any(map(str.isdigit, word)))
        assert reach[0] <= number <= reach[1]
        assert changed != text


@pytest.mark.parametrize("text", ["3D", "10/10", "50%", "1.5", "12:30", "2024-05-01", "MP3", "#1", "no", "9" * 5000])
def test_what_is_no_number_by_itself_stays(text: str) -> None:
    assert move_numbers(f"so {text} it is", Random(0)) is None


@pytest.mark.parametrize(
    ("text", "changed"),
    [("Good.", "Good"), ("Good", "Good."), ("Good ...  ", "Good"), ("好看\uff01", "好看"), ("好看", "好看。"),
     ("...", None), ("", None)],
)  # fmt: skip
def test_the_mark_at_the_end_goes_or_comes(text: str, changed: str | None) -> None:
    assert end_otherwise(text, Random(0)) == changed


def test_a_name_becomes_another_of_its_group_everywhere() -> None:
    changed = RENAME("Jane's film: Jane and Peter, not Janet or peter.", Random(1))
    assert changed is not None
    first, second = changed.split("'s")[0], changed.split(" and ")[1].split(",")[0]
    assert changed == f"{first}'s film: {first} and {second}, not Janet or peter."
    assert first in WOMEN
    assert first != "Jane"
    assert second in MEN
    assert second != "Peter"
    assert RENAME("Nobody was there.", Random(0)) is None
    assert swap_names([("王伟", "李娜")])("我叫王伟。", Random(0)) == "我叫李娜。"
    assert swap_names([("Ann", "Bea")])("Ann and Bea", Random(0)) is None, "no name is left"


def test_a_sentence_comes_before_or_after() -> None:
    change = add_sentence(["So it is."])
    assert {change("A film. ", Random(seed)) for seed in range(9)} == {"So it is. A film.", "A film. So it is."}


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("It is good", "It is not good"),
        ("Is it?", "Is not it?"),
        ("THIS IS IT", "THIS IS NOT IT"),
        ("It's fine", "It's not fine"),
        ("It is not, but was", "It is not, but was not"),
        ("This island can't", None),
        ("He is never there", None),
        ("it is n't so", None),
        ("It can\u2019t", None),
    ],
)
def test_what_is_so_is_not_so_once(text: str, changed: str | None) -> None:
    assert NEGATE(text, Random(0)) == changed


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("a good film", "a very good film"),
        ("Good film", "Very good film"),
        ("a very good film", None),
        ("not good", None),
        ("too  bad", None),
        ("goodness", None),
    ],
)
def test_a_word_becomes_stronger_unless_it_has_a_strength(text: str, changed: str | None) -> None:
    assert INTENSIFY(text, Random(0)) == changed


def test_own_pairs_are_whole_words_in_scripts_with_spaces_only() -> None:
    assert replace_word({"好看": "不好看"})("这本书好看", Random(0)) == "这本书不好看"
    assert replace_word({"好看": "不好看"})("这本书不好看", Random(0)) is None
    assert replace_word({"ist": "ist nicht"})("Das ist Mist", Random(0)) == "Das ist nicht Mist"
    assert replace_word({"a.b": "c"})("aab", Random(0)) is None, "no pattern"
