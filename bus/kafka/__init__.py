"""The only place, with `bus.embedded`, that talks to Kafka's client library."""
