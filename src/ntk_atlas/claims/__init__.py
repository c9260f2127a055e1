"""The judge of claims: labelled arrays in, one verdict a claim out."""
