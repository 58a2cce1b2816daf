"""A file a command: its options, and what it prints of what the session answers."""
