from ntk_atlas.cards.module_card import STANDARD_THRESHOLDS as STANDARD_THRESHOLDS
from ntk_atlas.cards.module_card import CardInputError as CardInputError
from ntk_atlas.cards.module_card import Measured as Measured
from ntk_atlas.cards.module_card import RegimeCard as RegimeCard
from ntk_atlas.cards.module_card import regime_card as regime_card
