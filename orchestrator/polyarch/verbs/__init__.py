"""What a session does, a file a verb: each takes what it needs as arguments and knows no plugin by name."""
