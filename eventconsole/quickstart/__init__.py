"""Start everything with one command, keep it running, and stop it in order.

`plan` says which programs there are, `supervisor` runs them, `quickstart` puts both together for trying things out and
`serve` for production.
"""
