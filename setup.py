"""The packages and the files that go with them; all else that an installer asks for is in pyproject.toml."""

from setuptools import find_packages, setup

PACKAGES = ["rl", "rollout", "rewards", "actors", "recipes", "data", "evals"]

setup(
    packages=[name for name in find_packages() if name.split(".")[0] in PACKAGES],
    package_data={
        "": ["py.typed"],
        "recipes": ["**/*"],
        "data": ["**/*.j2"],
        "rl": ["**/*.j2", "**/*.js", "**/*.css", "**/*.html", "**/*.svg"],
    },
)
