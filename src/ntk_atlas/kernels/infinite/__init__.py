"""NNGP and NTK at infinite width: fully connected and convolutional, in closed form or by quadrature."""
