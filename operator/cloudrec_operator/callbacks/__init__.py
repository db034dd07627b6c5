"""Delivery of recording events to the app's server: signed, in the task's order, at least once."""
