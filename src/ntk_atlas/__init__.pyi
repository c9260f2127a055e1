from collections.abc import Callable

from ntk_atlas.cubes.files import open_cube as open_cube

def lazy_names(room: str, file: str) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]: ...
