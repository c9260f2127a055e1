"""The sides of the rows: NTK Atlas, rivals in its own environment, and neural-tangents in another."""
