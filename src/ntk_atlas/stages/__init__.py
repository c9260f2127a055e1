"""The heavy stages of the workflow, as functions of a spec, data and a store of finished units."""
