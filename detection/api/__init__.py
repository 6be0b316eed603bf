"""REST v1: thin views over services and selectors."""
