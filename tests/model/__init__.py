"""A model of a reload: a disk, edits and an oracle around the code that decides."""
