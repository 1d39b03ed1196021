"""The shares of the memory budget, and the book in which processes share one of them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ioc.channels.memory_book import MemoryBook
from ioc.core.budget import divide
from ioc.core.errors import RayfanBug


@given(st.integers(1 << 20, 1 << 40), st.integers(0, 20))
def test_the_shares_are_all_of_it_and_no_more(total: int, ingresses: int) -> None:
    budget = divide(total, ingresses)
    given_out = budget.pool + ingresses * budget.ingress + budget.channels
    assert total - max(ingresses, 1) < given_out <= total
    assert min(budget.pool, budget.channels) > 0
    assert (budget.ingress > 0) == (ingresses > 0)
    assert 2 * budget.images <= budget.pool


def test_processes_never_book_more_than_the_limit_together(tmp_path: Path) -> None:
    names: list[str] = ["Cons1", "Cons2", "Cons1023", "EjfatIn1"]
    books = {name: MemoryBook(tmp_path / "memory", name, 1000) for name in names}

    @given(st.lists(st.tuples(st.sampled_from(names), st.integers(0, 600), st.booleans())))
    def book(steps: list[tuple[str, int, bool]]) -> None:
        held = dict.fromkeys(names, 0)
        for one in books.values():
            one.give(one.used)
        for name, size, take in steps:
            if take:
                fits = sum(held.values()) + size <= 1000
                assert books[name].take(size) == fits
                held[name] += size if fits else 0
            else:
                size = min(size, held[name])
                books[name].give(size)
                held[name] -= size
            assert {one: books[one].used for one in names} == held
            assert books["Cons1"].total == sum(held.values()) <= 1000

    book()
    for one in books.values():
        one.give(one.used)
    assert books["Cons1"].take(1)
    again = MemoryBook(tmp_path / "memory", "Cons1", 1000)
    assert again.used == 0, "what an earlier life held is not held any more"
    for one in (again, *books.values()):
        one.close()


def test_only_those_who_hold_copies_book_memory(tmp_path: Path) -> None:
    for name in ("detector", "Cons0", "Cons1024", "../Cons1"):
        with pytest.raises(RayfanBug, match="process that books memory"):
            MemoryBook(tmp_path / "memory", name, 1)
