"""What an audit says, as one typed record: words, dataclasses, and their JSON form.

`vocabulary` has the enums, `record` the dataclasses, `stored` reads and writes audit.json.
"""
