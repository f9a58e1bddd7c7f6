"""The index of dead letters: read from Kafka into the database, searched, grouped by error, and changed by people.

fingerprint   what makes two failures the same. Pure
rows          a record of a `.dlq` topic as rows. Pure
index         reads the `.dlq` topics; positions and rows in one transaction
entries       a batch put into the tables (bulk: many rows in one statement)
counts        the counts of error groups, kept with every change
changes       every change of a dead letter's status, conditional and audited
pages         filters, and lists cut into pages by key
summaries     small answers: badges, an event's dead letters, completion
trends        failures over time per error group
records       the record of a dead letter, taken apart when somebody opens it
retention     rows leave when their record has left Kafka
"""
