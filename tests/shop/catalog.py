from __future__ import annotations

from bus import catalog
from tests.shop import plan

for _topic in plan.from_environment().topics:
    catalog.add_topic(_topic, "A topic of a test")
for _group in plan.from_environment().groups:
    catalog.add_group(_group, "A group of a test")
