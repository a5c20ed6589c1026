"""The verbs of deploying."""
