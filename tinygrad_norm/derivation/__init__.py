"""From a definition to its formula, its gradient and their derivation; `derived.py` makes an op of it."""
