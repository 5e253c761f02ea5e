"""Ostiary, the doorkeeper: one core that knows who someone is, and the wires that other people's clients speak."""

__version__ = "0.1.0"
