"""The judge of claims: evidence, estimates and decisions, the verdicts of an experiment and of a study."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
