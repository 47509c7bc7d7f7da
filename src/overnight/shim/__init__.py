"""The small process around each attempt: one file of the standard library alone, `shim.py`."""
