"""Other people's identities: providers that a browser is sent to, and directories that are asked."""
