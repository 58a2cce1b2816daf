"""A layer as an EROFS image of its names and attributes, beside its archive, where the bytes of its files stay."""
