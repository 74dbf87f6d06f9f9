"""Metrics as one value per user, strata, intervals, paired tests, reports. No torch."""
