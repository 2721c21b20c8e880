"""Interactions to the arrays that models read: the latest n of each user, window starts, duration weights."""
