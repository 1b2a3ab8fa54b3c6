"""Sources: where questions on pictures come from. One file is one source."""
