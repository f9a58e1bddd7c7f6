"""What charts show: samples of the last hour, one for each 5 s, and of the last day, one for each 60 s.

| series | values |
|---|---|
| `outcomes` | `published`, `processed`, `retrying`, `failed`, `duplicate`, `skipped`: events per second |
| `handling` | `p50`, `p95`: milliseconds that handlers took; a gap when none ran |
| `lag` | `total`: events of our own groups; `worstSeconds`: the largest time lag of them |
| `dead-letters` | `open`: dead letters; `new`: how many came in that time, not per second |
| `workers` | `count`: alive |
| `group:<name>` | `lag`, `timeLag`, the outcomes but `published`, `p50`, `p95`; our own groups only |
| `topic:<name>` | `published`: events per second |

A value that isn't known is missing, and so is a point of which nothing is known: nobody watched at the time, or what
was written then is lost. Zero means that nothing happened. In samples of a minute, lags are the largest of it.

reading      what pages ask
parts        what samples are made of, and how minutes are made of them. Pure
minutes      minutes out of samples, and what is too old
recorder     the monitor's part: writes samples from the activity stream and from what was sampled
"""

from __future__ import annotations

from bus.history.reading import COARSE_STEP, FINE_STEP, KEPT, STEPS, Point, newest, points, points_of, slot, step_for

__all__ = ["COARSE_STEP", "FINE_STEP", "KEPT", "STEPS", "Point", "newest", "points", "points_of", "slot", "step_for"]
