"""The kinds of generator, a file each (`actors/generator/registry.py` names them)."""
