"""Several processes that serve as one: a supervisor, which serves nothing itself, and its workers."""
