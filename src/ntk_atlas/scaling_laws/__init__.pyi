from ntk_atlas.scaling_laws.comparison import ExponentDifference as ExponentDifference
from ntk_atlas.scaling_laws.comparison import compare_exponents as compare_exponents
from ntk_atlas.scaling_laws.fit import ScalingFit as ScalingFit
from ntk_atlas.scaling_laws.fit import fit_scaling_law as fit_scaling_law
from ntk_atlas.scaling_laws.floor_law import fit_floor_law as fit_floor_law
from ntk_atlas.scaling_laws.intervals import t_interval as t_interval
from ntk_atlas.scaling_laws.power_law import fit_power_law as fit_power_law
