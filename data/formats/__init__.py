"""Files of records in every format, streamed and never held in memory."""
