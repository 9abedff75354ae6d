"""How blocks of weights get from one process to others: one file each, chosen by where both sides are."""
