"""`interleave data check` and `show`: what a file of records holds."""
