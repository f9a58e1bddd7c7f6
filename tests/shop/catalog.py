from __future__ import annotations

from pydantic import BaseModel

from bus import catalog
from tests.shop import plan


class StrictData(BaseModel):
    """What the data of topics named strict… must look like."""

    n: int
    do: str


for _topic in plan.from_environment().topics:
    catalog.add_topic(_topic, "A topic of a test", model=StrictData if _topic.startswith("strict") else None)
for _group in plan.from_environment().groups:
    catalog.add_group(_group, "A group of a test")
