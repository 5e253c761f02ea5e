"""Counters that slow things down: named rules, kept in this process or in Redis."""
