"""`interleave reward test`: a reward tried on sample cases before it trains anything."""
