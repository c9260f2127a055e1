"""Phases of initialization: fixed point of the variance, gradient growth, critical line and depth scales."""
