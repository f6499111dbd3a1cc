"""Pages for people: the report of a reconstruction and the report of an evaluation."""
