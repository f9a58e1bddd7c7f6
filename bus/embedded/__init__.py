"""Kafka and Redis for a machine that has neither. For trying things out and for tests: nothing survives a stop."""
