r"""The recursion over layers of a convolutional network of infinite width, offset by offset.

With A the average over a kernel's k² positions (zero outside the image), at a fixed offset Δ of the two pixels,

    K = σ_w² A(T) + σ_b²,    Θ = f A(T) + A(σ_w² Ṫ Θ_before) + bias part,    T⁰ = x_p · x'_{p+Δ} / channels,

f is what the parameterization makes of σ_w² and the fan-in k² · channels (Arora et al. 2019; Novak et al. 2019).
Arrays have the pixels first and the pairs of images last: `(height, width, rows, columns)`, or `(height, width, n)`
for n images each paired with itself.
"""

from dataclasses import dataclass, field

from torch import Tensor

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.kernels.infinite.convolutional_geometry import Offset, Stage, overlap, readout_radius, stages_of
from ntk_atlas.kernels.infinite.convolutional_pairs import Pairs
from ntk_atlas.kernels.infinite.layer_weights import bias_part, weight_part
from ntk_atlas.networks.convolutional_architecture import ConvolutionalArchitecture


@dataclass(frozen=True)
class ConvolutionalRecursion:
    """One family of networks on images of one shape.

    Attributes:
        architecture: blocks, kernel size and readout.
        settings: parameterization, σ_b², biases and output scale.
        sigma_w2: σ_w².
        width: channels of every convolution, for parameterizations whose NTK grows with them.
        image_shape: channels, height and width of an input.
        stages: convolutions between pools.
        bias_part: what a layer's biases add to the NTK.
    """

    architecture: ConvolutionalArchitecture
    settings: NetworkSettings
    sigma_w2: float
    width: int | None
    image_shape: tuple[int, int, int]
    stages: list[Stage] = field(init=False)
    bias_part: float = field(init=False)
    _fan_ins: list[float] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", stages_of(self.architecture, *self.image_shape[1:]))
        fan_ins = self.architecture.fan_ins(self.image_shape, self.width or 1)
        factors = [weight_part(self.settings, fan_in, self.width, self.sigma_w2) for fan_in in fan_ins]
        object.__setattr__(self, "_fan_ins", factors)
        object.__setattr__(self, "bias_part", bias_part(self.settings, self.width))

    def fan_in(self, layer: int) -> float:
        """Factor of T in the NTK of a layer: convolutions from 0, then the readout."""
        return self._fan_ins[layer]

    @property
    def readout_size(self) -> tuple[int, int]:
        """Height and width before the readout."""
        return self.architecture.sizes(*self.image_shape[1:])[-1]

    def run(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """NNGP and NTK of pairs of images.

        Args:
            pairs: the pairs; its `activate` is called layer by layer, for offset (0, 0) first in every stage.

        Returns:
            Both kernels, without the output scale.
        """
        readout = _Readout(self, pairs)
        pooled: dict[Offset, tuple[Tensor, Tensor]] = {}
        layer = 0
        for number, stage in enumerate(self.stages):
            last = number + 1 == len(self.stages)
            after = readout.radius if last else self.stages[number + 1].radius
            before, pooled = pooled, {}
            for offset in filter(pairs.needs, stage.offsets()):
                if number and offset not in before:
                    continue
                moment, part = before.pop(offset) if number else self._inputs(pairs, offset)
                for convolution in range(stage.n_convolutions):
                    moment, part = self._convolve(pairs, layer + convolution, stage, offset, moment, part)
                assert part is not None  # there is a convolution in the first stage
                if stage.pool:
                    for twin in pairs.twins(offset):
                        self._pool(pairs, pooled, stage, twin, after, moment, part)
                elif last:
                    readout.add(offset, moment, part)
            layer += stage.n_convolutions
        for offset, (moment, slope_part) in pooled.items():
            readout.add(offset, moment, slope_part)
        return readout.kernels()

    def _inputs(self, pairs: Pairs, offset: Offset) -> tuple[Tensor, None]:
        return pairs.products(*overlap(offset, self.stages[0].size)).mul_(self.sigma_w2 / self.image_shape[0]), None

    def _convolve(
        self, pairs: Pairs, layer: int, stage: Stage, offset: Offset, moment: Tensor, slope_part: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        # σ_w² T and σ_w² Ṫ Θ behind the activation from those before the convolution.
        ntk = moment * (self.fan_in(layer) / self.sigma_w2)
        if slope_part is not None:
            ntk.add_(slope_part)
        ntk = box_mean(ntk, self.architecture.kernel_size).add_(self.bias_part)
        nngp = box_mean(moment, self.architecture.kernel_size).add_(self.settings.bias_variance)
        moment, slope = pairs.activate(layer, stage, offset, nngp, ntk)
        return moment, ntk.mul_(slope)

    @staticmethod
    def _pool(
        pairs: Pairs,
        pooled: dict[Offset, tuple[Tensor, Tensor]],
        stage: Stage,
        offset: Offset,
        radius: tuple[int, int],
        moment: Tensor,
        slope_part: Tensor,
    ) -> None:
        size = (stage.size[0] // 2, stage.size[1] // 2)
        for target in stage.pool_targets(offset, radius):
            if not pairs.needs(target.offset):
                continue
            if target.offset not in pooled:
                shape = tuple(n - abs(d) for n, d in zip(size, target.offset, strict=True))
                shape += tuple(moment.shape[2:])
                pooled[target.offset] = moment.new_zeros(shape), moment.new_zeros(shape)
            for sums, part in zip(pooled[target.offset], (moment, slope_part), strict=True):
                sums[target.to].add_(part[target.from_], alpha=1 / 16)


class _Readout:
    """Sums over the pixels before the dense layer."""

    def __init__(self, recursion: ConvolutionalRecursion, pairs: Pairs):
        self.recursion, self.pairs = recursion, pairs
        self.flatten = recursion.architecture.readout == "flatten"
        self.radius = readout_radius(recursion.architecture, recursion.readout_size)
        self.sums: tuple[Tensor, Tensor] | None = None

    def add(self, offset: Offset, moment: Tensor, slope_part: Tensor) -> None:
        if self.flatten and offset != (0, 0):
            return
        times = len(self.pairs.twins(offset))
        sums = (moment.sum((0, 1)).mul_(times), slope_part.sum((0, 1)).mul_(times))
        self.sums = sums if self.sums is None else (self.sums[0].add_(sums[0]), self.sums[1].add_(sums[1]))

    def kernels(self) -> tuple[Tensor, Tensor]:
        recursion = self.recursion
        n_pixels = recursion.readout_size[0] * recursion.readout_size[1]
        assert self.sums is not None  # offset (0, 0) has been added
        moment, slope_part = (part / (n_pixels if self.flatten else n_pixels**2) for part in self.sums)
        fan_in = recursion.fan_in(recursion.architecture.depth)
        ntk = slope_part.add_(moment, alpha=fan_in / recursion.sigma_w2).add_(recursion.bias_part)
        return moment.add_(recursion.settings.bias_variance), ntk


def box_mean(x: Tensor, kernel_size: int) -> Tensor:
    """Average over kernel_size² positions around each pixel, 0 outside, `(height, width, …)`."""
    for axis in (0, 1):
        out = x.clone()
        for shift in range(1, min(kernel_size // 2, x.shape[axis] - 1) + 1):
            n = x.shape[axis] - shift
            out.narrow(axis, shift, n).add_(x.narrow(axis, 0, n))
            out.narrow(axis, 0, n).add_(x.narrow(axis, shift, n))
        x = out
    return x.div_(kernel_size**2)
