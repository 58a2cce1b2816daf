"""The verbs of fleets."""
