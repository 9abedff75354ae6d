"""The kinds of generator, a file each (`actors/generator/backends.py` names them)."""
