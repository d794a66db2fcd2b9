"""A ledger of deletions and audits: append-only, hash-chained, in one SQLite file.

Nothing here imports torch. `chain` is what an entry is and when a chain holds, `book` keeps the
file, `recording` and `purge` write entries, `export` and `page` show them.
"""
