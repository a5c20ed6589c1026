"""Views parse, call one action, answer. One module per thing that is shown."""
