"""Measures what a person waits for: `make bench`, or `python -m tests.bench --help`. Asserts nothing about time."""
