"""Forget a person: which values are theirs, and the files that hold them. granary.forget is the command."""
