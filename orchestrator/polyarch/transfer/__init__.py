"""Brings the blobs of an image from a registry into a storage: several at once, verified while they stream, resumed."""
