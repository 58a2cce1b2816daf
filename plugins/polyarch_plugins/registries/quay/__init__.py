"""Quay: quay.io, and Quays of one's own."""
