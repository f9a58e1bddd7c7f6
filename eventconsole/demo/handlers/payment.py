"""Payment Service: asks for the money of an order, and sends it back when a paid order is cancelled."""

from __future__ import annotations

from typing import Any

from bus.catalog import TOPICS
from bus.envelope import Metadata
from bus.handlers import handler
from eventconsole.demo.catalog import PAYMENT
from eventconsole.demo.follow_ups import afollow_up, label, part_of_order
from eventconsole.demo.outages import PaymentGatewayError
from eventconsole.demo.simulation import simulated

SOURCE = "payment-service"
GATEWAY_DOWN = PaymentGatewayError("504 from the payment gateway after 10 s")

#: Payment tokens that the shop's payment provider treats in a way of its own; every other one pays.
DECLINED = "tok_declined"
ACCOUNT_CLOSED = "tok_account_closed"


@handler(TOPICS.ORDER_CREATED, group=PAYMENT)
@simulated(GATEWAY_DOWN)
async def initiate_payment(data: Any, metadata: Metadata) -> None:
    order_id = label(data.get("orderId"), metadata.event_id)
    initiated = {
        "paymentId": part_of_order("payment", order_id),
        "orderId": data.get("orderId"),
        "userId": data.get("userId"),
        "amount": data.get("totalAmount"),
        "currency": data.get("currency"),
        "method": data.get("paymentMethod"),
        "provider": "demopay",
        "paymentToken": data.get("paymentToken"),
        "items": data.get("items"),
    }
    await afollow_up(metadata, TOPICS.PAYMENT_INITIATED, initiated, key=order_id, source=SOURCE)


@handler(TOPICS.PAYMENT_INITIATED, group=PAYMENT)
@simulated(GATEWAY_DOWN)
async def charge(data: Any, metadata: Metadata) -> None:
    outcome = _about(data) | {"items": data.get("items")}
    order_id = label(data.get("orderId"), metadata.event_id)
    if data.get("paymentToken") == DECLINED:
        outcome |= {"errorCode": "card_declined", "errorMessage": "The card was declined"}
        await afollow_up(metadata, TOPICS.PAYMENT_FAILED, outcome, key=order_id, source=SOURCE)
        return
    outcome |= {"transactionId": part_of_order("txn", order_id), "paidAt": metadata.timestamp}
    await afollow_up(metadata, TOPICS.PAYMENT_SUCCEEDED, outcome, key=order_id, source=SOURCE)


@handler(TOPICS.ORDER_CANCELLED, group=PAYMENT)
@simulated(GATEWAY_DOWN)
async def refund(data: Any, metadata: Metadata) -> None:
    if data.get("paymentId") is None:
        return  # never paid
    order_id = label(data.get("orderId"), metadata.event_id)
    is_closed = data.get("paymentToken") == ACCOUNT_CLOSED
    topic = TOPICS.PAYMENT_REFUND_FAILED if is_closed else TOPICS.PAYMENT_REFUNDED
    outcome = _about(data) | {"refundId": part_of_order("refund", order_id)}
    outcome |= (
        {"errorCode": "account_closed", "errorMessage": "The customer's account is closed"}
        if is_closed
        else {"reason": data.get("reason")}
    )
    await afollow_up(metadata, topic, outcome, key=order_id, source=SOURCE)


def _about(data: Any) -> dict[str, Any]:
    return {name: data.get(name) for name in ("paymentId", "orderId", "userId", "amount", "currency")}
