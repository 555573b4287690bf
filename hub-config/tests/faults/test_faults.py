"""Each part of the hub's side killed, paused and cut off, with somebody in each state of the life cycle.

`NUNA_FAULT_SECONDS` is how long a fault lasts (3). With 60 the table in the administrator's guide is made:
`NUNA_FAULT_SECONDS=60 NUNA_FAULT_TABLE=table.md pytest hub-config/tests/faults`.
"""

import os

import pytest
from fault_stack import FAULTS, PARTS
from scene import Scene

SECONDS = float(os.environ.get("NUNA_FAULT_SECONDS", "3"))


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_lost_and_everybody_is_told(stack, part, fault):
    row = Scene(stack, part, fault, SECONDS).play()
    assert not row.problems, "\n".join([*row.problems, stack.logs()])
