"""All worlds, in the order of the table. A claim's worlds are in a module of their own: add its `WORLDS` here."""

from worlds import decision_worlds, equivalence_worlds, movement_worlds, population_worlds, scaling_worlds
from worlds.world import World

MODULES = (decision_worlds, movement_worlds, scaling_worlds, equivalence_worlds, population_worlds)
WORLDS: tuple[World, ...] = tuple(world for module in MODULES for world in module.WORLDS)
