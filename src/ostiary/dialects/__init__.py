"""Dialects: one folder is one wire; neither imports the other. The front desk chooses."""
