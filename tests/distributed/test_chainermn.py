"""Scripts of ChainerMN under mpiexec: one model, means over all, files of each."""

import json

import pytest

from tests.distributed import test_processes
from tests.distributed.test_processes import start

pytestmark = test_processes.pytestmark


@pytest.fixture(scope="module", params=[2, 3])
def found(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("mn") / "found.json"
    code, output = start(request.param, "tests.distributed.mn", path)
    assert code == 0, output
    return json.loads(path.read_text())


def test_all_have_one_model(found):
    for run in range(3):
        first = found[0]["runs"][run]["parameters"]
        assert all(each["runs"][run]["parameters"] == first for each in found)


def test_evaluators_weigh_by_examples(found):
    """7 examples among 2 or 3 processes: the mean is that of one process."""
    for run in found[0]["runs"]:
        (value,) = run["told"].values()
        assert value == pytest.approx(run["loss"], rel=1e-5)


def test_checkpoints_go_on_where_all_have_one(found):
    for each in found:
        _, resumed, whole = each["runs"]
        assert resumed["parameters"] == whole["parameters"]
    assert found[0]["files"] == ["run.0.12", "run.0.18"]


def test_messages(found):
    size = len(found)
    ranks = range(size)
    assert [each["rank"] for each in found] == [*ranks]
    assert found[0]["sum"] == [sum(ranks) + k * size for k in range(3)]
    assert [each["gathered"] for each in found][:2] == [None, [*ranks]]
    assert [each["dealt"] for each in found] == list("abcd")[:size]
    bounds = [each["range"] for each in found]
    assert [b[0] for b in bounds] == [0, *(b[1] for b in bounds[:-1])]
    assert bounds[-1][1] == 7
    assert [each["half"] for each in found] == [(size + 1) // 2, size // 2, 2][:size]
    assert found[1]["received"] == {"from": 0}
