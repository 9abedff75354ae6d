"""The kinds of further evidence, one file each (`actors/evidence/registry.py` lists them)."""
