"""Speed, as ratios to bare confluent-kafka in the same run. Never part of the test suite: nothing here can fail."""
