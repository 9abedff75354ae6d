"""What is on disk: images and answers by content, and the ledger."""
