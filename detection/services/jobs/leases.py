"""What holders of a lease are told when it is theirs no more."""


class LeaseLost(Exception):
    """The claim's token is no longer the row's: stop, and leave no trace."""
