from ntk_atlas.figures.parts.curves import plot_coordinate_check as plot_coordinate_check
from ntk_atlas.figures.parts.curves import replicate_interval as replicate_interval
from ntk_atlas.figures.parts.look import decimals as decimals
from ntk_atlas.figures.parts.look import notices_of as notices_of
from ntk_atlas.figures.parts.look import predictor_styles as predictor_styles
from ntk_atlas.figures.parts.look import save_figure as save_figure
from ntk_atlas.figures.parts.look import theme as theme
from ntk_atlas.figures.parts.verdicts import plot_claims as plot_claims
