"""What the services of the shop do with events, one module per consumer group.

Whatever an event lacks is made up for: handlers fail only when `data.simulate` asks for it. `LOG_LEVEL=DEBUG` shows
what they do.
"""

from __future__ import annotations

from eventconsole.demo.handlers import analytics, email, inventory, notification, order, payment, recommendation

__all__ = ["analytics", "email", "inventory", "notification", "order", "payment", "recommendation"]
