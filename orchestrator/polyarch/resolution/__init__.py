"""From a reference to candidates, and from those to a choice: the reading side of selection."""
