"""The networks of the few-shot HDR video memo."""
