"""Data sets: sources, encoded targets, seeded draws, normalization and storage."""

_PUBLIC = {
    "DataError": "dataset",
    "Dataset": "dataset",
    "DatasetBase": "source",
    "DatasetSize": "source",
    "DatasetSource": "source",
    "Draw": "draws",
    "SOURCES": "sources",
    "check_draws": "draw_checks",
    "dataset_digest": "store",
    "encode_targets": "targets",
    "inspect_dataset": "read",
    "load_dataset": "store",
    "make_draw": "draws",
    "notices": "draw_checks",
    "probe_indices": "probes",
    "read_dataset": "read",
    "save_dataset": "store",
}


def __getattr__(name: str):
    from importlib import import_module

    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
