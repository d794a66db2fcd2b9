"""Every word of a report, in tables with typed keys: another language is another set of tables.

`first` has the words of the first screen, `rest` those of what follows it. Sentences that an audit
says of its own measurements are made in `auditing.statements` and stored in the record.
"""
