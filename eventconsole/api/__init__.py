"""The HTTP API: one router per resource, one table from errors to statuses."""
