"""What a worker does with a consumer group's events: offsets, lanes, executor, runner."""
