"""What may be drawn, said once."""
