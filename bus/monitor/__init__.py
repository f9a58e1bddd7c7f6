"""What runs once per installation: one process leads by a lease, others stand by.

leadership    the lease, in the database
tasks         what is done: indexing dead letters, sending replays and following them, tidying up
monitor       runs the tasks, each on a thread of its own, for as long as this process leads
"""
