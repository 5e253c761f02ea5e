"""Mail: what we write, the rows in which it waits, and the ways in which it leaves."""
