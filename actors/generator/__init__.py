"""The generators: diffusers pipelines in pools, and models behind HTTP."""
