"""The one list of predictors: every name has a kind, a label and a style, and the config takes no other."""

import re

import pytest

from ntk_atlas.config import (
    PREDICTOR_PATTERN,
    PREDICTORS,
    FigureSettings,
    known_predictors,
    predictor_family,
    predictor_label,
    predictors_of,
)
from ntk_atlas.figures.parts import predictor_styles

KINDS = {family.kind for family in PREDICTORS}
NAMES = [name for kind in sorted(KINDS) for name in known_predictors(kind)] + ["ntk_epoch_7", "ntk_pretrained_64"]


def test_names_labels_and_styles_are_distinct():
    labels = [predictor_label(name) for name in (*NAMES, "network")]
    assert len(set(labels)) == len(labels) == len(PREDICTORS) + 1
    styles = predictor_styles([*NAMES, "network"], FigureSettings())
    assert len({(look.color, look.marker, str(look.dash)) for look in styles.values()}) == len(styles)


@pytest.mark.parametrize("name", NAMES)
def test_the_config_takes_every_name(name):
    assert re.fullmatch(PREDICTOR_PATTERN, name) and name in predictors_of(predictor_family(name).kind, NAMES)


@pytest.mark.parametrize("name", ["", "laplac", "laplace2", "ntk_epoch_0", "ntk_epoch_", "network", "ntk_init_"])
def test_and_no_other(name):
    assert not re.fullmatch(PREDICTOR_PATTERN, name)
    with pytest.raises(KeyError, match="known are linearized, ntk_init"):
        predictor_family(name)


def test_numbers_stand_in_labels():
    assert predictor_label("ntk_epoch_12") == "empirical NTK, epoch 12"
