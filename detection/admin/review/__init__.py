"""The review workspace and the contact sheet."""
