"""Exceptions: what they say arrives everywhere, and is what the documentation says."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest
from toka_vault import Precondition, Vault, errors

CLASSES = [thing for thing in vars(errors).values() if isinstance(thing, type)]
DOCUMENT = Path(__file__).parents[3] / "docs" / "python.md"
#: Where errors get their class and their code.
SOURCE = Path(__file__).parents[1] / "src" / "error" / "codes.rs"


@pytest.mark.parametrize("thing", CLASSES)
def test_exception_of_every_class_can_be_pickled(thing: type[errors.VaultError]) -> None:
    raised = thing("what has happened")
    raised.code, raised.is_retryable = "a_code", True
    for again in [pickle.loads(pickle.dumps(raised)), copy.copy(raised)]:
        assert type(again) is thing and str(again) == "what has happened"
        assert (again.code, again.is_retryable) == ("a_code", True)


def test_exception_of_a_vault_is_pickled_with_all_that_it_says() -> None:
    with Vault.in_memory() as vault, pytest.raises(errors.PreconditionError) as raised:
        vault.commit("k", preconditions=[Precondition.kind_at("k", 7)])
    again = pickle.loads(pickle.dumps(raised.value))
    assert again.violations == raised.value.violations != []
    assert (str(again), again.code) == (str(raised.value), "precondition")


def codes_of(thing: type[errors.VaultError]) -> set[str]:
    _, _, codes = (thing.__doc__ or "").partition("Code")
    return set(re.findall(r"`(\w+)`", codes))


def listed() -> dict[str, set[str]]:
    """The codes of each class, as the document has them."""
    codes_by_class: dict[str, set[str]] = {}
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("| `"):
            _, names, codes, *_ = line.split("|")
            for name in re.findall(r"`(\w+)`", names):
                codes_by_class[name] = set(re.findall(r"`(\w+)`", codes))
    return codes_by_class


def test_document_lists_every_class_with_its_codes() -> None:
    assert listed().keys() == {thing.__name__ for thing in CLASSES}
    for thing in CLASSES:
        assert codes_of(thing) and codes_of(thing) <= listed()[thing.__name__], thing.__name__


def test_document_lists_every_code_that_there_is() -> None:
    pairs = set(re.findall(r'\(\s*"(\w+Error)",\s*"(\w+)"', SOURCE.read_text()))
    assert len(pairs) > 50, pairs
    missing = [(name, code) for name, code in pairs if code not in listed()[name]]
    assert not missing
