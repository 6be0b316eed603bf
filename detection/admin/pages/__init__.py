"""List and detail pages of the admin."""
