"""Palimpsest: what does a model remember, how long, and can it be made to forget?"""

import os

__version__ = "0.1.0"

# Without it MKL adds in an order that depends on where in memory an array begins, so that numbers
# would differ from run to run and with what is computed beside them. Read at MKL's first product.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
