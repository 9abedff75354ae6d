"""How a judge is asked and its answers are read: rubric, checklist, several scores of one image."""
