"""Setting a group's offsets back or forward, and having it handle events again.

kafka    what is asked of Kafka, with or without the answers that the embedded one can't give
plan     before and after per partition, and how many events would be skipped as already handled
sample   a look at some of the events that would be read again
apply    the reset itself: for a group without members, and only if its offsets are still what the plan saw
"""
