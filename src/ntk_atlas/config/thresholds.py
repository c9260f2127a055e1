"""Claims and regimes: what the plan knows of each claim, and the files of thresholds, each number with its reason."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import ConfigDict, Field, NonNegativeInt, create_model, model_validator

from ntk_atlas.config.base import Settings
from ntk_atlas.registry import HeadRegistry, is_own

Sentence = Annotated[str, Field(min_length=10)]


class ClaimError(ValueError):
    """A claim that there is not, or that cannot be judged."""


class Threshold(Settings):
    """One number that a verdict turns on, and why it is that number."""

    value: float
    """The number."""
    reason: Sentence
    """Why this one."""


class ClaimSettings(Settings):
    """A claim in a file of thresholds: `thresholds.drift.value` is the threshold `drift` of the claim's file."""

    statistic: Sentence
    """What is measured, in words; it stands beside the verdict."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Threshold: ...


@dataclass(frozen=True)
class Claim:
    """The head of a claim's file, whose function `measure(evidence, thresholds)` compares.

    Attributes:
        statement: the claim in one sentence of our own.
        statistic: what is measured, in words.
        source: where the statement stands: the paper's abstract or introduction, its released code, a paper that cites
            it, a third party's summary; or that it is our reading.
        thresholds: by name, each with its reason; a file of thresholds may have others.
        needs: what a verdict needs of an experiment's settings, in the order in which it is looked for: functions from
            `study.claim_needs.Asked` to what is missing.
        medians: how many comparisons, of medians among them, Holm's correction will count at most, by
            `study.claim_needs.Asked`: the plan says where too few replicates could ever reject the claim.
        compared: rows of the table in docs/claims.md: what is compared, and where the claim says that it lies; by
            default the statistic and the thresholds.
        trained: whether its intervals are over trained networks, of which `least_replicates` are needed.
        seeds: whether the seeds of a single draw are replicates: kernels of infinite width and rivals have none.
        over_experiments: whether it joins the verdicts of a study's experiments (`join`, not `measure`).
        asks_itself: whether `measure` asks for the needs (`need_settings(CLAIM, ...)`), to say more where they are not
            met; else the judge does, before it measures.
        name: of its file, or `my_file.py:name`.
    """

    statement: str
    statistic: str
    source: str
    thresholds: Mapping[str, Threshold] = field(default_factory=dict)
    needs: tuple[Callable[[Any], Any], ...] = ()
    medians: Callable[[Any], int] | None = None
    compared: tuple[tuple[str, str], ...] = ()
    trained: bool = True
    seeds: bool = True
    over_experiments: bool = False
    asks_itself: bool = False
    name: str = field(default="", init=False)

    @property
    def label(self) -> str:
        """The claim as it is written: `A1`, `A'1`, `B1∞`; of the user's the name in the file."""
        return self.name.rpartition(":")[2] if is_own(self.name) else claim_name(self.name)


CLAIMS = HeadRegistry("ntk_atlas.claims", Claim, "claim", error=ClaimError)
"""A claim is the file `claims/a1.py`; `my_claim.py:x` is one of the user's."""


def claim_name(file: str) -> str:
    """A claim as it is written, by its file: `a1` → `A1`, `a_prime_1` → `A'1`, `b1_infinite` → `B1∞`."""
    return file.upper().replace("_PRIME_", "'").replace("_INFINITE", "∞")


def claim_head(key: str) -> Claim:
    """A claim by its key in a file of thresholds, `A'1` or `my_claim.py:x`."""
    return CLAIMS.head(key if is_own(key) else key.lower().replace("'", "_prime_").replace("∞", "_infinite"))


class ClaimThresholds(Settings):
    """Thresholds by claim; a claim that is not here is not judged. `{}` takes the thresholds of the claim's file."""

    model_config = ConfigDict(alias_generator=claim_name)

    def by_name(self) -> dict[str, ClaimSettings]:
        """The claims that have thresholds, by their keys in the file."""
        fields = type(self).model_fields
        given = {info.alias or name: getattr(self, name) for name, info in fields.items()}
        return {key: settings for key, settings in given.items() if settings is not None}

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> ClaimSettings | None: ...


class ChosenWithSettings(Settings):
    """On which networks the thresholds were chosen; they judge others."""

    seeds: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]
    """Values of `training.seed` and `dispersion.seed`; experiments with one of them are refused."""
    note: Sentence
    """What was looked at."""


class Thresholds(Settings):
    """A file of thresholds, `config/claims/<study>.yaml`; `thresholds_model` has the claims that there are."""

    chosen_with: ChosenWithSettings
    """How the thresholds came about."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage of the two-sided intervals that verdicts rest on."""
    least_replicates: Annotated[int, Field(ge=2)] = 5
    """Replicates (draws; networks if there is one draw) below which a claim about trained networks stays open."""
    claims: ClaimThresholds
    """The claims."""

    def digest(self) -> str:
        """16 hexadecimal digits over all numbers, reasons and words that judge, whatever file they stand in."""
        text = self.model_dump_json(by_alias=True, exclude_none=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def thresholds_of(content: Mapping[str, Any], *, strict: bool = False) -> Thresholds:
    """Validates the contents of a file of thresholds.

    Args:
        content: the file as dicts, lists and scalars.
        strict: whether a number must be one.

    Returns:
        The thresholds, those of the claims' files where the file of thresholds has no others.
    """
    return thresholds_model(content).model_validate(content, strict=strict)


def thresholds_model(content: Mapping[str, Any]) -> type[Thresholds]:
    """The model of a file of thresholds: the built-in claims, and the user's that it names.

    Raises:
        ClaimError: if a claim of the user's has no head.
    """
    claims = content.get("claims")
    own = tuple(str(key) for key in claims if is_own(str(key))) if isinstance(claims, Mapping) else ()
    return _model(own) if own else _built_in()


@cache
def _built_in() -> type[Thresholds]:
    return _model(())


def _model(own: tuple[str, ...]) -> type[Thresholds]:
    fields: dict[str, Any] = {}
    for name in (*CLAIMS.names(), *own):
        claim = CLAIMS.head(name)
        place = re.sub(r"\W", "_", claim.label) if is_own(name) else name
        if place in fields:
            raise ClaimError(f"claim {name!r}: there is another claim {claim.label!r} already: take another name")
        numbers: dict[str, Any] = {key: (Threshold, threshold) for key, threshold in claim.thresholds.items()}
        settings = create_model(
            f"{place}_settings", __base__=ClaimSettings, statistic=(Sentence, claim.statistic), **numbers
        )
        fields[place] = (settings | None, Field(default=None, alias=name if is_own(name) else claim_name(name)))
    given = create_model("ClaimThresholds", __base__=ClaimThresholds, **fields)
    return create_model("Thresholds", __base__=Thresholds, claims=(given, ...))


class RegimeThresholds(Settings):
    """A file of thresholds of regimes: `config/regimes.yaml`."""

    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage of the two-sided intervals that regimes rest on."""
    distance: Threshold
    """τ: distance of a network from a predictor, in units of the predictor's own error, below which theory holds."""
    error_ratio: Threshold
    """ρ: ratio of two mean squared errors, either way, up to which they are no different."""
    most_diverged: Threshold
    """Share of diverged networks above which a cell is *diverged*."""
    most_unfinished: Threshold
    """Share of networks above the stated training error above which a cell was not trained to the end."""
    uneven: Threshold
    """p value of the test of equal spreads below which each cell is judged by its own spread, not the pooled one."""

    def digest(self) -> str:
        """16 hexadecimal digits over everything in the file but its formatting and comments."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @model_validator(mode="after")
    def _make_sense(self) -> Self:
        if self.distance.value <= 0.0:
            raise ValueError(f"distance: {self.distance.value:g} is no distance: give a number above 0")
        if self.error_ratio.value < 1.0:
            raise ValueError(
                f"error_ratio: {self.error_ratio.value:g} leaves no ratio that is no different: give 1 or more; it is "
                "taken either way, 1/ρ … ρ"
            )
        for name in ("most_diverged", "most_unfinished", "uneven"):
            if not 0.0 <= getattr(self, name).value <= 1.0:
                raise ValueError(f"{name}: {getattr(self, name).value:g} is no share: give a number from 0 to 1")
        return self
