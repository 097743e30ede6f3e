"""What can go wrong, as exceptions that carry facts; `str()` puts the facts into words."""
