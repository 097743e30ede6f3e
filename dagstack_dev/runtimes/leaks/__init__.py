"""What of a retired generation can still be reached, and who holds it."""
