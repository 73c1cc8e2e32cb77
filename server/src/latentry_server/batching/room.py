"""Pure: how much may wait, and how much of that one client may take."""


class Room:
    """Room for a number of rows, or of bytes, that wait.

    A client that has nothing waiting may take all that is free. One that has may not have more waiting than it leaves
    free, so that however much one client sends, others find room: alone it gets half, beside one like it a third.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"limit: expected at least 1, got {limit}")
        self.limit = limit
        self.taken = 0
        self._taken_by: dict[str, int] = {}

    @property
    def free(self) -> int:
        """What nobody has taken."""
        return self.limit - self.taken

    def taken_by(self, client: str) -> int:
        """Tell what a client has taken."""
        return self._taken_by.get(client, 0)

    def fits_share(self, client: str, amount: int) -> bool:
        """Tell whether a client that takes the amount still leaves as much free as it has."""
        waiting = self.taken_by(client)
        return not waiting or waiting + amount <= self.free - amount

    def take(self, client: str, amount: int) -> None:
        """Take the amount for a client."""
        self.taken += amount
        self._taken_by[client] = self._taken_by.get(client, 0) + amount

    def give_back(self, client: str, amount: int) -> None:
        """Give back what a client has taken."""
        self.taken -= amount
        left = self._taken_by[client] - amount
        if left:
            self._taken_by[client] = left
        else:
            del self._taken_by[client]
