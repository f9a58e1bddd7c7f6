"""Whatever happens, in whatever order: each event is handled once, in the order of its key, and none is left over."""

from __future__ import annotations

import pytest

from tests.unit.dispatcher_model import World

FEW, MANY = 400, 800


@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_repeated_overtaken_or_left_over(seed: int) -> None:
    world = World(seed)

    world.live(MANY if seed % 4 == 0 else FEW)

    world.calm_down()
