"""The services of the shop itself; the specification names only those that watch it."""

from __future__ import annotations

from bus import catalog

ORDER = "order-service-group"
PAYMENT = "payment-service-group"
INVENTORY = "inventory-service-group"

catalog.add_group(ORDER, "Order Service (orders and their status)")
catalog.add_group(PAYMENT, "Payment Service (payments and refunds)")
catalog.add_group(INVENTORY, "Inventory Service (stock and reservations)")
