"""Decides what runs where and when, and carries it out."""
