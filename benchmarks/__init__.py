"""Side-by-side runs of polyarch and its peers: `python -m benchmarks`, or `make bench`.

Contenders take turns in one run, on fresh folders, the disk synced before each; what counts are medians and ratios,
because the seconds of one machine say little about another.
"""
