"""Steering consumer groups: pause and resume them, set their offsets back, have them handle events again.

store         what the database says, its mirror in Redis, and how a change gets from one to the other
pauses        pause and resume a group, or one topic of it
watch         a worker's look at the mirror
keeping       what paused groups have handled isn't forgotten meanwhile
offsets       plan and apply a reset of offsets

    person ──▶ database: intent and audit ──▶ Redis: mirror ──▶ workers, within a second
                        └── monitor: restores the mirror ──▲

The database is the truth, because only there intent and audit are one transaction; the mirror is what workers can
afford to look at. While Redis is away the last known state stays; while the database is away nothing can be changed.
"""
