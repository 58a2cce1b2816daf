"""The verbs of images at hand: seen, kept, given up, saved."""
