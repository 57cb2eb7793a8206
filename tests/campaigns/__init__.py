"""Campaigns: long, seeded runs that look for what the tests let through. They are started by hand, not by pytest."""
