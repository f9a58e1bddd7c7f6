"""The live side of the console: one socket per page, on which the server tells what changed.

    socket ── join ──▶ room: a rendering shared by all who look at it, or the tail, filtered for each
                         ▲ asks the database, Redis           ▲ feed: this process's one reader of the activity stream
                         └─ eventconsole.pages                └─ bus.activity

`frames` is what is said, `rooms` what a page registers, `renderings` and `tail` what is shown, `outbox` how much of it
may be under way, `sockets` who may have it. `static/js/live.js` is the other end.
"""

from __future__ import annotations
