"""The event bus: publish, consume, retry, dead-letter and replay events on Apache Kafka."""
