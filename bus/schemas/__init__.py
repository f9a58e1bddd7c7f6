"""What the events of the specification's 28 topics say: pydantic models of `data`, one module per domain.

They describe and give an example. Every field is optional and more are allowed, so that an event is refused only where
a field holds something of another kind (a list as an order's id). What is stored is what was sent, never the model.
A project that wants to be strict names models of its own: `catalog.add_topic("invoice.sent", "…", model=InvoiceSent)`.
"""
