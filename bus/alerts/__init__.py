"""Alerts: what is wrong is told to one address, when it begins and when it is over.

conditions   what is wrong now, out of what the monitor has sampled. Only reads
register     what began and what ended since the last look
delivery     the request that tells it, signed
task         looks, remembers, tells; part of the monitor
"""
