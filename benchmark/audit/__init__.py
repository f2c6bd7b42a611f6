"""Audits of finished releases: what came in, how much it can show, and whether it may be published."""
