"""The kinds of judge, a file each (`actors/judge/registry.py` names them)."""
