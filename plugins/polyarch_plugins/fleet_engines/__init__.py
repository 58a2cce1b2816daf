"""Ways to reach the devices of a fleet."""
