"""Evidence reports for people: the PDF."""
