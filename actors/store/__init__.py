"""What is on disk: images and answers named by content, and the ledger."""
