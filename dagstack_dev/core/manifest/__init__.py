"""A plugin's manifest: its fields, how it is read, and what is said of one that is not valid."""
