"""Makes the lock of what polyarch is developed and tested with (`make lock`), and a release (`make release`).

No part of the product: it is in no wheel.
"""
