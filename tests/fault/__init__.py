"""Crash and I/O fault tests: record the writes, replay every state a power cut can leave, judge it."""
