"""How data sets are made: from requests to records."""
