"""Replays: dead letters delivered again, one or a hundred thousand, to only the group that failed.

plan         fixes what is to be replayed, and says what to expect
operations   what people do: one, undo, run, another rate, pause, resume, cancel
states       which state follows which
edit         a changed copy in place of the original. Pure
sender       sends what is to be sent, in batches that survive a crash (batch, prepared, flight,
             lease, records, arrivals, pace)
outcomes     what became of what was sent (forgotten: after the ledger's memory), and of the canary
report       how far a replay is
recent       the last replays, and those that run
engine       sender and outcomes put together, for the monitor, the API and the command
"""
