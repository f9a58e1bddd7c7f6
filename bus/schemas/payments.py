"""Data of `payment.*` events."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from bus.schemas.base import EventData


class Payment(EventData):
    """What every event about a payment says."""

    payment_id: str | None = Field(None, description="The payment")
    order_id: str | None = Field(None, description="The order that it is for")
    user_id: str | None = Field(None, description="The customer")
    amount: float | None = Field(None, description="How much")
    currency: str | None = Field(None, description="Currency, ISO 4217")


class PaymentInitiated(Payment):
    """The customer's bank or card was asked for the money."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "paymentId": "payment-2001",
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "amount": 199.98,
                    "currency": "EUR",
                    "method": "card",
                    "provider": "stripe",
                }
            ]
        }
    )

    method: str | None = Field(None, description="How it is paid: card, transfer, wallet …")
    provider: str | None = Field(None, description="Who moves the money")


class PaymentSucceeded(Payment):
    """The money is there."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "paymentId": "payment-2001",
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "amount": 199.98,
                    "currency": "EUR",
                    "transactionId": "txn-8c41",
                    "paidAt": "2024-01-15T10:30:01.500Z",
                }
            ]
        }
    )

    transaction_id: str | None = Field(None, description="The provider's id of the payment")
    paid_at: str | None = Field(None, description="When, ISO 8601")


class PaymentFailed(Payment):
    """The payment was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "paymentId": "payment-2001",
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "amount": 199.98,
                    "currency": "EUR",
                    "errorCode": "card_declined",
                    "errorMessage": "The card was declined",
                }
            ]
        }
    )

    error_code: str | None = Field(None, description="The provider's code")
    error_message: str | None = Field(None, description="The provider's reason, for people")


class PaymentRefunded(Payment):
    """The money went back."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "paymentId": "payment-2001",
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "refundId": "refund-3001",
                    "amount": 49.99,
                    "currency": "EUR",
                    "reason": "item_returned",
                }
            ]
        }
    )

    refund_id: str | None = Field(None, description="The refund")
    reason: str | None = Field(None, description="Why")


class PaymentRefundFailed(Payment):
    """The money couldn't be sent back; somebody has to look."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "paymentId": "payment-2001",
                    "orderId": "order-1001",
                    "userId": "user-456",
                    "refundId": "refund-3002",
                    "amount": 49.99,
                    "currency": "EUR",
                    "errorCode": "account_closed",
                    "errorMessage": "The customer's account is closed",
                }
            ]
        }
    )

    refund_id: str | None = Field(None, description="The refund")
    error_code: str | None = Field(None, description="The provider's code")
    error_message: str | None = Field(None, description="The provider's reason, for people")
