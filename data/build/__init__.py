"""From a request to records: how data sets are made."""
