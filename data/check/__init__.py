"""`interleave data check` and `show`: report what a file of records holds."""
