"""Lag: how many events a consumer group is behind, for how long, why, and when it will have caught up.

arithmetic    lag, trend, time to drain, and why a group waits. Pure
pages         lists of groups and topics, cut into pages
"""
