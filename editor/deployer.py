"""What the worker does for deploys."""
