"""Measurements of a running server: `python -m bench`, and `python -m bench.enumeration`."""
