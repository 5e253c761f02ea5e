"""Rows: one set of tables, statements written once in SQLAlchemy Core, run by the bare driver of the engine in use."""
