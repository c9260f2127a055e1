"""Typed, frozen settings: one file a section of the config, `study` joins them."""
