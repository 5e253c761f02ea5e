"""Pure functions and the hashing pool: nothing here knows accounts, wires or rows."""
