"""The kinds of further evidence, a file each (`actors/evidence/registry.py` names them)."""
