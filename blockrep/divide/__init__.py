"""Divide a disk into a first and a second area, and give it back; never at risk."""
