"""Notification Service: tells customers what happens to their orders and payments, by email and SMS."""

from __future__ import annotations

import logging
from typing import Any

from bus.catalog import CONSUMER_GROUPS, TOPICS
from bus.envelope import Metadata
from bus.handlers import handler
from eventconsole.demo.outages import SmsGatewayError, SmtpError
from eventconsole.demo.simulation import simulated

log = logging.getLogger(__name__)

SMTP_DOWN = SmtpError("451 4.7.1 greylisted, try again later")
SMS_DOWN = SmsGatewayError("503 from the SMS gateway: no route to carrier")


@handler(TOPICS.ORDER_CREATED, group=CONSUMER_GROUPS.NOTIFICATION)
@simulated(SMTP_DOWN)
def send_confirmation(data: Any, metadata: Metadata) -> None:
    _mail("We received your order", data, metadata)


@handler(TOPICS.PAYMENT_SUCCEEDED, group=CONSUMER_GROUPS.NOTIFICATION)
@simulated(SMTP_DOWN)
def send_receipt(data: Any, metadata: Metadata) -> None:
    _mail("Your receipt", data, metadata)


@handler(TOPICS.CART_ABANDONED, group=CONSUMER_GROUPS.NOTIFICATION)
@simulated(SMTP_DOWN)
def send_reminder(data: Any, metadata: Metadata) -> None:
    _mail("You left something in your cart", data, metadata)


@handler(
    TOPICS.ORDER_CONFIRMED,
    TOPICS.ORDER_CANCELLED,
    TOPICS.PAYMENT_FAILED,
    TOPICS.PAYMENT_REFUNDED,
    TOPICS.PAYMENT_REFUND_FAILED,
    group=CONSUMER_GROUPS.NOTIFICATION,
)
@simulated(SMTP_DOWN)
def send_news(data: Any, metadata: Metadata) -> None:
    _mail(f"News about your order: {metadata.event_type}", data, metadata)


@handler(
    TOPICS.ORDER_SHIPPED,
    TOPICS.ORDER_DELIVERED,
    TOPICS.ORDER_STATUS_CHANGED,
    TOPICS.PAYMENT_INITIATED,
    group=CONSUMER_GROUPS.NOTIFICATION,
)
@simulated(SMS_DOWN)
async def send_sms(data: Any, metadata: Metadata) -> None:
    log.debug("SMS sent", extra={"eventId": metadata.event_id, "userId": data.get("userId")})


def _mail(subject: str, data: Any, metadata: Metadata) -> None:
    log.debug("mail sent", extra={"eventId": metadata.event_id, "userId": data.get("userId"), "subject": subject})
