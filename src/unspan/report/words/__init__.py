"""Every word of a report, in tables with typed keys: another language is another set of tables.

`first` has the words of the first screen, `rest` and `parts` those of what follows it, and `drawn`
those of drawings. `remarks` has those of what
an audit says of its measurements, and `codes` those of its levels, goals and limits.
"""
