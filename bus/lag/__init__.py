"""Lag: how many events a consumer group is behind, for how long, why, and when it will have caught up.

arithmetic    lag, trend and time to drain. Pure
reasons       why a group waits, as one sentence. Pure
sparkline     the small chart of a row. Pure
states        what was measured of a group, put together. Pure
sampler       measures our own groups, and with topics our topics and the cluster
rows          writes rows of which few have changed
pages         lists of groups and topics, cut into pages
"""
