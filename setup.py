"""The packages and the files that go with them; all else that an installer asks for is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PACKAGES = ["rl", "rollout", "rewards", "actors", "recipes", "data", "evals"]
LOCK = "requirements.lock"


class WithLock(build_py):
    """Put the lock file into what is built: who installs a wheel needs it, and `interleave doctor` holds against it."""

    def run(self):
        super().run()
        if not self.editable_mode:
            self.copy_file(LOCK, str(Path(self.build_lib, "rl", LOCK)))

    def get_source_files(self):
        return [*super().get_source_files(), LOCK]


setup(
    cmdclass={"build_py": WithLock},
    packages=[name for name in find_packages() if name.split(".")[0] in PACKAGES],
    package_data={
        "": ["py.typed"],
        "recipes": ["**/*"],
        "data": ["**/*.j2"],
        "rl": ["**/*.j2", "**/*.js", "**/*.css", "**/*.html", "**/*.svg"],
    },
)
