"""What the structures of scalar PVs say, whatever other PVs said before."""

import numpy as np
from p4p import Type, Value
from p4p.nt import NTEnum, NTScalar, NTTable

from ioc.channels.pva_scalars import scalar

ENUM = NTEnum.buildType()


def test_an_update_of_an_enum_that_marks_its_index_only_is_a_text() -> None:
    mode = Value(ENUM, {"value": {"index": 2, "choices": ["Single", "Multiple", "Continuous"]}})
    assert scalar(mode) == "Continuous"
    assert scalar(Value(NTScalar.buildType("d"), {"value": 0.5})) == 0.5
    mode.unmark()
    mode["value.index"] = 1
    assert scalar(mode) == "Multiple"


def test_an_index_without_choice_is_no_value() -> None:
    assert scalar(Value(ENUM, {"value": {"index": 3, "choices": ["off", "on"]}})) is None
    assert scalar(Value(ENUM, {"value": {"index": -1, "choices": ["off", "on"]}})) is None


def test_numbers_texts_and_long_strings_are_plain() -> None:
    assert scalar(Value(NTScalar.buildType("l"), {"value": -7})) == -7
    assert scalar(Value(NTScalar.buildType("?"), {"value": True})) is True
    assert scalar(Value(NTScalar.buildType("s"), {"value": "gold"})) == "gold"
    long = np.frombuffer(b"a path\0rest", np.int8)
    assert scalar(Value(NTScalar.buildType("ab"), {"value": long})) == "a path"


def test_what_is_no_scalar_has_no_value() -> None:
    assert scalar(Value(NTScalar.buildType("ad"), {"value": np.zeros(3)})) is None
    assert scalar(Value(NTTable.buildType([("x", "ad")]), {"value": {"x": np.zeros(3)}})) is None
    assert scalar(Value(Type([("other", "d")]), {"other": 1.0})) is None
