"""Email Service: mails that a customer has to get."""

from __future__ import annotations

import logging
from typing import Any

from bus.catalog import CONSUMER_GROUPS, TOPICS
from bus.envelope import Metadata
from bus.handlers import handler
from eventconsole.demo.outages import SmtpError
from eventconsole.demo.simulation import simulated

log = logging.getLogger(__name__)

MAILS = {
    TOPICS.USER_REGISTERED: "Welcome to the shop",
    TOPICS.USER_UPDATED: "Your profile was changed",
    TOPICS.USER_DELETED: "Your account was deleted",
    TOPICS.USER_ADDRESS_ADDED: "A new address for your orders",
    TOPICS.ORDER_CONFIRMED: "Your invoice",
    TOPICS.ORDER_SHIPPED: "Your order is on its way",
    TOPICS.PAYMENT_REFUNDED: "Your credit note",
}


@handler(*MAILS, group=CONSUMER_GROUPS.EMAIL)
@simulated(SmtpError("421 4.3.2 service shutting down, closing transmission channel"))
def send(data: Any, metadata: Metadata) -> None:
    subject = MAILS.get(metadata.event_type, metadata.event_type)
    log.debug("mail sent", extra={"eventId": metadata.event_id, "userId": data.get("userId"), "subject": subject})
