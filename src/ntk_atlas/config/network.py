"""Settings of the network: its family, and what all families share; each family's own section lies with the family."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, create_model, model_validator

from ntk_atlas.activations import ACTIVATIONS
from ntk_atlas.config.base import Scale, Settings, UserPath
from ntk_atlas.families import FAMILIES, Family
from ntk_atlas.parameterizations import PARAMETERIZATIONS
from ntk_atlas.registry import Named

# A job's digest has the family that the job's settings name: of the others nothing is read but summary and section.
_FAMILIES = "; ".join(f"`{family.name}`: {family.summary}" for family in FAMILIES.values())
SECTIONS = {family.name: family.section for family in FAMILIES.values() if family.section is not None}
"""Classes of the families' own sections, `network.<family>`."""


def _absent(value: object) -> bool:
    return value is None


class NetworkSettings(Settings):
    """Everything about the network that is not an axis of the grid."""

    factory: str | None = None
    """A network of your own, `my_net.py:build`: a function of (depth, width, init_scale, input_shape,
    n_outputs, generator) that returns a `torch.nn.Module`. The keys from `architecture` on then do
    not apply, `output_scale` apart."""
    initial_state: UserPath | None = Field(default=None, exclude_if=_absent)
    """Weights that a network of your own starts from, as in fine-tuning: a file of its `state_dict` (`torch.save`; a
    checkpoint of Lightning too), read as weights alone. What the file does not have, such as a new head, stays as the
    factory drew it. A file that has all weights makes all seeds the same network: set `grid.seeds: 1`."""
    trainable: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(default=None, exclude_if=_absent)
    """The parameters of a network of your own that train, by patterns of their names: `["head.*", "*.lora_*"]`; its
    kernel is the kernel of these. By default those that the factory leaves trainable."""
    architecture: Annotated[str, Named(FAMILIES)] = Field(
        default="fully_connected",
        description=f"The family of the networks. {_FAMILIES}; the others are the files of `families/`; or your own, "
        "`my_file.py:name`.",
    )
    activation: Annotated[str, Named(ACTIVATIONS)] = "relu"
    """Activation of the hidden layers: a file of `activations/`; or your own, `my_phi.py:phi`: a function of a tensor,
    entry by entry, written with torch functions, or an `Activation`."""
    parameterization: Annotated[str, Named(PARAMETERIZATIONS)] = "standard"
    """Where the size of a layer stands, and how its learning rate follows the width. `standard`: W ~ N(0, σ_w²/fan_in),
    b ~ N(0, σ_b²); `ntk`: the same network with W, b ~ N(0, 1) and the factors in the forward pass; the others are the
    files of `parameterizations/`; or your own, `my_file.py:name`."""
    bias_variance: Annotated[float, Field(ge=0.0, le=1e10)] = 0.0
    """σ_b²."""
    trainable_biases: bool = True
    """Whether biases are trained and counted in the kernel, also at σ_b² = 0."""
    output_scale: Scale = 1.0
    """α: the network is α times its raw output; large α is lazy."""
    last_layer_scale: Scale = 1.0
    """Factor on the initial weights of the output layer alone: below 1 the layers under it have to learn more for the
    same change of the output, which makes features. Infinite kernels are those of 1, so they do not go with others."""

    @property
    def family(self) -> Family:
        """The family that `architecture` names.

        Raises:
            FamilyError: if a file of the user's does not hold one.
        """
        return FAMILIES.get("factory" if self.factory is not None else self.architecture)

    def applies(self, key: str) -> bool:
        """Whether a key means something to the family."""
        family = self.family
        return key in family.keys if family.keys is not None else key == family.name or key not in SECTIONS

    def of_family(self, name: str) -> "NetworkSettings":
        """The network of another family with the same settings, but for the family's own section."""
        values = {key: getattr(self, key) for key in type(self).model_fields if key not in SECTIONS}
        return type(self)(**{**values, "factory": None, "architecture": name})

    @model_validator(mode="before")
    @classmethod
    def _of_its_family(cls, given: Any) -> Any:
        """Fills in what follows: a factory is a family, and a family with a section has one."""
        if not isinstance(given, dict):
            return given
        name = given.get("architecture", "fully_connected")
        if given.get("factory") is not None:
            return {**given, "architecture": "factory"} if name == "fully_connected" else given
        if isinstance(name, str) and name in SECTIONS and given.get(name) is None:
            given = {**given, name: {}}
        return given

    @model_validator(mode="after")
    def _keys_of_its_family(self) -> "NetworkSettings":
        fields = type(self).model_fields
        given = [key for key, field in fields.items() if getattr(self, key) != field.default and not self.applies(key)]
        if self.factory is None and self.architecture == "factory":
            raise ValueError("architecture factory is chosen by network.factory: write `factory: my_net.py:build`")
        if self.factory is not None:
            given = [key for key in given if (key, self.architecture) != ("architecture", "factory")]
            if given:
                one = len(given) == 1
                raise ValueError(
                    f"{', '.join(given)} {'does' if one else 'do'} not apply to a network of your own: remove "
                    f"{'it' if one else 'them'}, or `factory` (an overlay takes it away by `factory: null`)"
                )
            if ":" not in self.factory:
                raise ValueError(f"factory {self.factory!r} has no function: write `my_net.py:build`")
        elif self.initial_state is not None or self.trainable is not None:
            key = "initial_state" if self.initial_state is not None else "trainable"
            raise ValueError(f"{key} goes with a network of your own: set factory, or remove it")
        elif given:
            raise ValueError(
                f"{given[0]} does not apply to the architecture {self.architecture}: remove it, or set architecture "
                f"to {given[0]}"
            )
        return self


if not TYPE_CHECKING:  # a field per family with a section: a new family's is there without a line here
    NetworkSettings = create_model(
        "NetworkSettings",
        __base__=NetworkSettings,
        __module__=__name__,
        __doc__=NetworkSettings.__doc__,
        **{
            name: (
                section | None,
                Field(
                    default=None,
                    exclude_if=_absent,
                    description=f"The own section of the architecture `{name}`; no other takes it.",
                ),
            )
            for name, section in SECTIONS.items()
        },
    )
