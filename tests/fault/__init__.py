"""Crash and I/O fault tests: record the writes, replay and judge what a power cut leaves."""
