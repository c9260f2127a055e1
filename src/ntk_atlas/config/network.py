"""Settings of the network: the built-in families, or a factory of the user's own."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ntk_atlas.activations import ACTIVATIONS
from ntk_atlas.config.base import Scale, Settings
from ntk_atlas.config.convolutional import ConvolutionalSettings
from ntk_atlas.parameterizations import PARAMETERIZATIONS
from ntk_atlas.registry import Named

Architecture = Literal["fully_connected", "convolutional"]


class NetworkSettings(Settings):
    """Everything about the network that is not an axis of the grid."""

    factory: str | None = None
    """A network of your own, `my_net.py:build`: a function of (depth, width, init_scale, input_shape,
    n_outputs, generator) that returns a `torch.nn.Module`. The keys below but `output_scale` then do not apply."""
    architecture: Architecture = "fully_connected"
    """`fully_connected`: inputs are flattened, `grid.depth` hidden layers of `grid.width` units; `convolutional`:
    inputs are images (channels, height, width), `grid.depth` convolutions of `grid.width` channels."""
    convolutional: ConvolutionalSettings = ConvolutionalSettings()
    """Blocks, pooling and readout of the architecture `convolutional`; no other takes them."""
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

    def fully_connected(self) -> "NetworkSettings":
        """The fully connected network of the same activation, parameterization and scales."""
        return self.model_copy(update={"architecture": "fully_connected", "convolutional": ConvolutionalSettings()})

    @model_validator(mode="after")
    def _factory_alone(self) -> "NetworkSettings":
        fields = type(self).model_fields
        own = {"factory", "output_scale"}
        given = [name for name in fields if name not in own and getattr(self, name) != fields[name].default]
        if self.factory is not None and given:
            raise ValueError(
                f"{', '.join(given)} {'does' if len(given) == 1 else 'do'} not apply to a network of your own: remove "
                f"{'it' if len(given) == 1 else 'them'}, or `factory` (an overlay takes it away by `factory: null`)"
            )
        if self.factory is not None and ":" not in self.factory:
            raise ValueError(f"factory {self.factory!r} has no function: write `my_net.py:build`")
        return self

    @model_validator(mode="after")
    def _convolutional_alone(self) -> "NetworkSettings":
        if self.architecture != "convolutional" and self.convolutional != ConvolutionalSettings():
            raise ValueError(
                f"convolutional does not apply to the architecture {self.architecture}: remove it, or set architecture "
                "to convolutional"
            )
        return self
