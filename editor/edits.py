"""The verbs of designing."""
