"""Harbor, which is at home on any host."""
