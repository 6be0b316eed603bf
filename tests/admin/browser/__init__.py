"""The admin in a real browser, one for all of these tests."""
