"""Files of records in every format, iterated and never held."""
