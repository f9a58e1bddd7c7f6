"""The demo shop: services that handle the specification's events, and customers who cause them."""
