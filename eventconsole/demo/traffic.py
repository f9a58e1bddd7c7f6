"""The customers and suppliers of the shop: an endless, realistic stream of events.

The same seed gives the same stream. Nothing here publishes: see `publishing`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bus.catalog import TOPICS, Priority
from eventconsole.demo.assortment import CITIES, FIRST_NAMES, LAST_NAMES, PRODUCTS, STREETS, Product
from eventconsole.demo.catalog import INVENTORY, ORDER, PAYMENT
from eventconsole.demo.follow_ups import part_of_order, priority_of
from eventconsole.demo.handlers.payment import ACCOUNT_CLOSED, DECLINED

CURRENCY = "EUR"
#: How many customers are in the shop at the same time.
VISITORS = 12

#: How many events of a hundred go wrong, and how. None kills a worker, and only bystanders fail for good, so that
#: the flow of an order goes on.
SIMULATED = (("fail:2", 3.0), ("fail", 1.0), ("permanent", 0.5), ("slow:2", 1.5))
_FOR_GOOD = ("fail", "permanent")
_CORE = (ORDER, PAYMENT, INVENTORY)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it is published."""

    topic: str
    data: dict[str, Any]
    key: str
    source: str
    priority: Priority
    correlation_id: str
    user_id: str | None


@dataclass(frozen=True, slots=True)
class Customer:
    user_id: str
    name: str
    city: tuple[str, str, str]
    street: str

    @property
    def email(self) -> str:
        return f"{self.name.lower().replace(' ', '.')}@example.com"

    @property
    def address(self) -> dict[str, str]:
        postal_code, city, country = self.city
        return {"name": self.name, "street": self.street, "postalCode": postal_code, "city": city, "country": country}


Story = Iterator[Draft]


class Traffic:
    """An endless iterator of drafts: many stories at once, each moved on by a step at random.

    `groups_for` says which consumer groups handle a topic; simulated failures are limited to one of them. `now` is
    asked for the time of what happens.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        groups_for: Callable[[str], Sequence[str]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._random = random.Random(seed)
        self._groups_for = groups_for
        self._now = now
        self._customers: list[Customer] = []
        self._stories: list[Story] = []

    def __iter__(self) -> Iterator[Draft]:
        return self

    def __next__(self) -> Draft:
        while True:
            while len(self._stories) < VISITORS:
                self._stories.append(self._story())
            story = self._random.choice(self._stories)
            draft = next(story, None)
            if draft is not None:
                return self._with_trouble(draft)
            self._stories.remove(story)

    def _with_trouble(self, draft: Draft) -> Draft:
        at = self._random.uniform(0, 100)
        for kind, share in SIMULATED:
            if at < share:
                groups = [g for g in self._groups_for(draft.topic) if not (kind in _FOR_GOOD and g in _CORE)]
                if groups:
                    draft.data.update(simulate=kind, simulateGroup=self._random.choice(groups))
                break
            at -= share
        return draft

    def _story(self) -> Story:
        stories: list[Callable[[], Story]] = [self._visit, self._profile, self._assortment, self._delivery]
        return self._random.choices(stories, weights=(70, 10, 8, 12))[0]()

    def _visit(self) -> Story:
        """A customer comes, perhaps for the first time, fills a cart, and buys or leaves."""
        customer, is_new = self._customer()
        visit = self._id("req")
        if is_new:
            yield from self._registration(customer, visit)
        cart_id, items = self._id("cart"), self._items()
        for product, quantity in items:
            added = {"cartId": cart_id, "productId": product.id, "quantity": quantity, "price": product.price}
            yield self._web(TOPICS.CART_ITEM_ADDED, added, cart_id, customer, visit)
        if len(items) > 1 and self._chance(0.3):
            product, quantity = items.pop()
            removed = {"cartId": cart_id, "productId": product.id, "quantity": quantity}
            yield self._web(TOPICS.CART_ITEM_REMOVED, removed, cart_id, customer, visit)
        total = round(sum(product.price * quantity for product, quantity in items), 2)
        content = {"cartId": cart_id, "totalAmount": total, "currency": CURRENCY}
        yield self._web(TOPICS.CART_UPDATED, content | {"itemCount": len(items)}, cart_id, customer, visit)
        lines = [{"productId": p.id, "name": p.name, "quantity": quantity, "price": p.price} for p, quantity in items]
        if self._chance(0.25):
            abandoned = content | {"items": lines, "lastActivityAt": self._time()}
            yield self._web(TOPICS.CART_ABANDONED, abandoned, cart_id, customer, visit, source="cart-service")
        else:
            yield from self._order(customer, visit, lines, total)

    def _registration(self, customer: Customer, visit: str) -> Story:
        account = {"email": customer.email, "name": customer.name, "locale": "en", "registeredAt": self._time()}
        yield self._user(TOPICS.USER_REGISTERED, account, customer, visit)
        address = {"addressId": self._id("address"), "address": customer.address, "isDefault": True}
        yield self._user(TOPICS.USER_ADDRESS_ADDED, address, customer, visit)

    def _order(self, customer: Customer, visit: str, lines: list[dict[str, Any]], total: float) -> Story:
        order_id = self._id("order")
        token = self._random.choices(("tok_visa", "tok_paypal", DECLINED, ACCOUNT_CLOSED), weights=(60, 28, 8, 4))[0]
        order = {"orderId": order_id, "totalAmount": total, "currency": CURRENCY, "items": lines}
        how = {"paymentMethod": "wallet" if token == "tok_paypal" else "card", "paymentToken": token}
        created = order | how | {"shippingAddress": customer.address}
        yield self._web(TOPICS.ORDER_CREATED, created, order_id, customer, visit, source="order-service")
        if token == DECLINED:
            return  # the payment service says the rest
        if token == ACCOUNT_CLOSED or self._chance(0.08):
            payment = {"paymentId": part_of_order("payment", order_id), "amount": total, "paymentToken": token}
            why = {"reason": "customer_request", "cancelledBy": "customer", "cancelledAt": self._time()}
            cancelled = {"orderId": order_id, "currency": CURRENCY, "items": lines} | payment | why
            yield self._web(TOPICS.ORDER_CANCELLED, cancelled, order_id, customer, visit, source="order-service")
            return
        shipped = {
            "orderId": order_id,
            "carrier": self._random.choice(("DHL", "DPD", "UPS")),
            "trackingNumber": f"JJD{self._random.randrange(10**17):017d}",
            "shippedAt": self._time(),
        }
        yield self._web(TOPICS.ORDER_SHIPPED, shipped, order_id, customer, visit, source="shipping-service")
        if self._chance(0.8):
            delivered = {"orderId": order_id, "deliveredAt": self._time(), "signedBy": customer.name}
            yield self._web(TOPICS.ORDER_DELIVERED, delivered, order_id, customer, visit, source="shipping-service")

    def _profile(self) -> Story:
        """A customer looks after the account."""
        customer, is_new = self._customer()
        visit = self._id("req")
        if is_new:
            yield from self._registration(customer, visit)
        wished = [product.id for product in self._random.sample(PRODUCTS, 2)]
        wishes = {"added": wished[:1], "removed": wished[1:], "itemCount": self._random.randint(1, 9)}
        yield self._user(TOPICS.USER_WISHLIST_UPDATED, wishes, customer, visit)
        if self._chance(0.5):
            yield self._user(TOPICS.USER_UPDATED, {"changes": {"newsletter": self._chance(0.5)}}, customer, visit)
        if self._chance(0.15) and customer in self._customers:
            self._customers.remove(customer)
            deleted = {"reason": "user_request", "deletedAt": self._time()}
            yield self._user(TOPICS.USER_DELETED, deleted, customer, visit)

    def _assortment(self) -> Story:
        """The shop changes what it sells."""
        product, request = self._random.choice(PRODUCTS), self._id("req")
        price = round(product.price * self._random.choice((0.8, 0.9, 1.1)), 2)
        prices = {"productId": product.id, "oldPrice": product.price, "newPrice": price, "currency": CURRENCY}
        yield self._staff(TOPICS.PRODUCT_PRICE_CHANGED, prices | {"effectiveFrom": self._time()}, product.id, request)
        if self._chance(0.5):
            changes = {"productId": product.id, "changes": {"name": f"{product.name}, improved"}}
            yield self._staff(TOPICS.PRODUCT_UPDATED, changes, product.id, request)
        if self._chance(0.4):
            new_id = self._id("prod")
            new = {"productId": new_id, "sku": f"{product.sku}-{new_id[5:9].upper()}", "name": f"{product.name} mini"}
            rest = {"category": product.category, "price": round(product.price / 2, 2), "currency": CURRENCY}
            yield self._staff(TOPICS.PRODUCT_CREATED, new | rest, new_id, request)
            if self._chance(0.5):
                gone = {"productId": new_id, "sku": new["sku"], "reason": "discontinued"}
                yield self._staff(TOPICS.PRODUCT_DELETED, gone, new_id, request)

    def _delivery(self) -> Story:
        """A warehouse counts what it has."""
        request, warehouse = self._id("req"), self._random.choice(("cgn-1", "lyo-2"))
        for product in self._random.sample(PRODUCTS, self._random.randint(1, 3)):
            stock = {"productId": product.id, "sku": product.sku, "quantity": self._random.randint(0, 120)}
            stock |= {"threshold": 10, "warehouseId": warehouse}
            yield self._staff(TOPICS.INVENTORY_UPDATED, stock, product.id, request, source="warehouse-service")

    def _customer(self) -> tuple[Customer, bool]:
        if self._customers and self._chance(0.75):
            return self._random.choice(self._customers), False
        name = f"{self._random.choice(FIRST_NAMES)} {self._random.choice(LAST_NAMES)}"
        street = f"{self._random.choice(STREETS)} {self._random.randint(1, 120)}"
        customer = Customer(self._id("user"), name, self._random.choice(CITIES), street)
        # A bounded memory: this stream may run for weeks.
        self._customers = [*self._customers[-199:], customer]
        return customer, True

    def _items(self) -> list[tuple[Product, int]]:
        chosen = self._random.sample(PRODUCTS, self._random.randint(1, 3))
        return [(product, self._random.choices((1, 2, 3), weights=(75, 18, 7))[0]) for product in chosen]

    def _web(
        self, topic: str, data: dict[str, Any], key: str, customer: Customer, visit: str, source: str = "web-shop"
    ) -> Draft:
        about = {**data, "userId": customer.user_id}
        return Draft(topic, about, key, source, priority_of(topic), visit, customer.user_id)

    def _user(self, topic: str, data: dict[str, Any], customer: Customer, visit: str) -> Draft:
        return self._web(topic, data, customer.user_id, customer, visit, source="user-service")

    def _staff(
        self, topic: str, data: dict[str, Any], key: str, request: str, source: str = "product-service"
    ) -> Draft:
        return Draft(topic, dict(data), key, source, priority_of(topic), request, None)

    def _id(self, kind: str) -> str:
        return f"{kind}-{self._random.getrandbits(40):010x}"

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _time(self) -> str:
        return self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
