"""kind: custom, a pipeline whose code comes with the model."""

from actors.generator.config import GeneratorConfig
from actors.generator.kinds.diffusers import DiffusersKind
from actors.generator.registry import GeneratorSpec


class CustomKind(DiffusersKind):
    """A pipeline that diffusers does not have."""

    has_code = True

    def check_settings(self, config: GeneratorConfig, spec: GeneratorSpec | None, where: str) -> None:
        """Whatever its class is called: it is the model's own."""


KIND = CustomKind()
