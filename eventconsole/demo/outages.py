"""What goes wrong in the shop when an event asks for it: the errors of the systems that its services lean on."""

from __future__ import annotations

from bus.errors import PermanentError


class SmtpError(Exception):
    """The mail server didn't take a mail."""


class SmsGatewayError(Exception):
    """The SMS gateway didn't take a message."""


class WarehouseError(Exception):
    """The analytics warehouse didn't take a row."""


class ModelServerError(Exception):
    """The server of the recommendation model didn't answer."""


class OrderDatabaseError(Exception):
    """The order database didn't take a change."""


class PaymentGatewayError(Exception):
    """The payment provider didn't answer."""


class StockLockError(Exception):
    """The stock of a product is locked by somebody else."""


class RejectedError(PermanentError):
    """The other side understood, and refuses: trying again can't help."""
