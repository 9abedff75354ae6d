"""Paid services: each answer is paid for once, retried, shared, and billed."""
