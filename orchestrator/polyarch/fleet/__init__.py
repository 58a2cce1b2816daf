"""Many devices: what each is and has at hand, and what each should get."""
