"""Stored answers → judgements: figures, controls, claims, exposure, guarantees, one tidy table."""
