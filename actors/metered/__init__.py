"""Paid services: each answer paid for once, tried again, shared, and on the bill."""
