"""What every face of the core that is asked over HTTP stands on: a request as it arrives, and a table of routes."""
