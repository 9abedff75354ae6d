"""User-defined classes as judge, generator, teacher or observer: their interfaces, how they are found and run."""
