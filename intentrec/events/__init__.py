"""Raw rows to accepted events, quarantine and catalogue."""
