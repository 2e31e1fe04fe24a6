"""One file per extension."""
