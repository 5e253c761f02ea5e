"""`python -m ostiary` and the `ostiary` command."""

from __future__ import annotations

from ostiary.cli import ostiary


def main() -> None:
    """Run the command line and leave the process."""
    ostiary.main(prog_name="ostiary")


if __name__ == "__main__":
    main()
