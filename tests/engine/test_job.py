"""Jobs are known by their content."""

import hashlib

import pytest

from sentei.engine import Job, Task
from sentei.errors import EngineError, UnknownNameError
from tests.engine.jobs import task


def test_key_is_the_digest_of_the_sorted_specification() -> None:
    text = '{"a":[1,2.5],"b":{"c":null,"d":true}}'

    job = Job({"b": {"d": True, "c": None}, "a": (1, 2.5)})

    assert job.key == hashlib.sha256(text.encode()).hexdigest()


def test_label_is_no_part_of_a_job() -> None:
    assert Job({"x": 1}, "first") == Job({"x": 1}, "second")
    assert len({Job({"x": 1}, "first"), Job({"x": 1}, "second"), Job({"x": 2})}) == 2


def test_later_change_of_the_mapping_does_not_change_the_job() -> None:
    spec = {"x": [1]}
    job = Job(spec)

    spec["x"].append(2)

    assert job == Job({"x": [1]})


@pytest.mark.parametrize(
    ("value", "message"),
    [(float("nan"), r"spec.lr is nan"), ({1: 2}, r"spec.lr is \{1: 2\}"), (b"", r"spec.lr is b''")],
)
def test_specification_that_is_no_json_is_refused(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Job({"lr": value})


def test_context_that_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match=r"context.data is <object"):
        task(data=object())


@pytest.mark.parametrize("factory", ["make", "module:", ":make"])
def test_task_without_module_or_function_is_refused(factory: str) -> None:
    with pytest.raises(ValueError, match="names no factory; write package"):
        Task(factory)


def test_task_of_no_module_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"there is no module 'no_such_module'\."):
        Task("no_such_module:make").build()


def test_task_that_is_no_function_is_refused() -> None:
    with pytest.raises(EngineError, match="returns int; it must return a function run"):
        task("make_number").build()
