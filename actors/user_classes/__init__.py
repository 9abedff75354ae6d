"""Classes of a user's own as judge, generator, teacher or observer: what they offer, how they are found and run."""
