"""Settings of the judge of claims: a module a study, and the file that holds their thresholds."""
