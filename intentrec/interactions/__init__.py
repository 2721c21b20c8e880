"""Events to sessions, visits and action types, and the weekly state that the rules need."""
