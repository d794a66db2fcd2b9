"""What can an attacker still get? `audit()` measures it, against a reference, and says so in plain
words.
"""
