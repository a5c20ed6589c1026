"""Measures what a person waits for: `make bench`, or `python -m tests.bench --help`. No tests; nothing asserts a time."""
