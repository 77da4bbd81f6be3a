"""The format of a segment: the part of a second area that belongs to one peer."""
